"""FEATURES → STATES, LOSS: fusion, Conformer, losses, starting weights, adapters, precision."""
