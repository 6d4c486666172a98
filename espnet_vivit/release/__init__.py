"""Trained models made fit to be given away: packages, cards, merged adapters, exported graphs."""
