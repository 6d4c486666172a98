"""Checks at the start of every training: lists, tokens, alignment, feature cache."""
