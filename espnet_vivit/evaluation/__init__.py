"""TEXT + LOGS → NUMBERS: error rates, intervals, calibration, tables and plots. Reads folders, never a model."""
