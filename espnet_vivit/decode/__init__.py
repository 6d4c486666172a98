"""TRAINED MODEL + CLIP → WORDS: model files, packages, beam search, language models, word times."""
