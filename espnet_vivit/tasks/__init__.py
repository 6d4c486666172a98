"""TRAINING: the task that ESPnet2's trainer sees, its options and data."""
