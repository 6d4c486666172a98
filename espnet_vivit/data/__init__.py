"""The data directory: its lists, transcripts, word times, tokens and noise, and what CTC can align."""
