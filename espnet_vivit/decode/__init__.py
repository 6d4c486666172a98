"""Beam search over a trained model."""
