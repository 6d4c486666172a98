"""A transcription as subtitle files, and burned into a video."""
