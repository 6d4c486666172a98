"""Normalisation by what has been heard so far."""

import numpy as np
import torch

from espnet_vivit.frontend.running_normalization import MEMORY_S, RunningNormalization

BLOCK = 640


def test_each_block_is_normalized_by_the_weighted_samples_up_to_its_end():
    """Oracle: numpy's weighted average over all samples, a block's weight falling by e in MEMORY_S."""
    speech = np.random.default_rng(0).normal(size=(2, 8 * BLOCK)).astype(np.float32) * np.array([[0.2], [3]]) + 0.5
    found = RunningNormalization()(torch.from_numpy(speech).float()).numpy()
    for row, result in zip(speech, found, strict=True):
        for block in range(8):
            heard = row[: (block + 1) * BLOCK].astype(np.float64)
            ages_s = np.repeat(np.arange(block, -1, -1) * 0.04, BLOCK)
            weights = np.exp(-ages_s / MEMORY_S)
            mean = np.average(heard, weights=weights)
            deviation = np.sqrt(np.average((heard - mean) ** 2, weights=weights))
            expected = (heard[-BLOCK:] - mean) / deviation
            np.testing.assert_allclose(result[block * BLOCK : (block + 1) * BLOCK], expected, atol=1e-4)


def test_the_cutting_does_not_matter():
    speech, normalize = torch.randn(1, 20 * BLOCK), RunningNormalization()
    in_pieces = torch.cat([normalize(piece) for piece in speech.split([BLOCK, 5 * BLOCK, 14 * BLOCK], dim=1)], dim=1)
    torch.testing.assert_close(in_pieces, RunningNormalization()(speech), atol=1e-6, rtol=1e-6)


def test_another_loudness_is_forgotten():
    loud, quiet = torch.randn(1, 50 * BLOCK), 0.1 * torch.randn(1, 25 * 60 * BLOCK)
    after_a_minute = RunningNormalization()(torch.cat([loud, quiet], dim=1))[:, -25 * BLOCK :]
    assert 0.8 < float(after_a_minute.std()) < 1.1


def test_silence_stays_silence():
    assert not RunningNormalization()(torch.zeros(1, 3 * BLOCK)).any()
