"""Turn transcripts and logs into numbers: error rates, intervals, calibration, tables and plots."""
