"""Optimizers, learning-rate schedules and freezing."""
