"""Recordings of any length to words: cutting, joining, judging, and the result that is handed out."""
