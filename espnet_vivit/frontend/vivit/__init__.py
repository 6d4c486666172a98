"""The parts of `vivit_encoder`: weights, embedding, tower, windows, cache."""
