"""CORPUS → DATA DIRECTORY: one corpus, one file."""
