"""Clips of a corpus in, a data directory with mouth crops and a report out, in many processes."""
