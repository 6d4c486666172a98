"""Utterances → batches: datasets, augmentation, preprocessing, batch sizes, curriculum."""
