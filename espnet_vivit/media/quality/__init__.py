"""CLIP → VERDICT: whether a mouth can be read in it, and reports of many clips."""
