"""`mini_av`: a synthetic audio-visual corpus, rendered from a seed."""
