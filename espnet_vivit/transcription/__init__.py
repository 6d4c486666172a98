"""RECORDING → TRANSCRIPT: read, cut into pieces, recognized and assembled."""
