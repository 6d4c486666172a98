"""Published checkpoints of others: what a file is, which of our models has its parameters, and that model filled.

One table per family (conformers.py, relative.py, avhubert.py, language_model.py); layout.py recognizes a file by them.
"""
