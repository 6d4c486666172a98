"""Decoded text in; word error rates, intervals, tables, curves and reports out."""
