"""Sound whose file is damaged keeps its time."""

import numpy as np

from espnet_vivit.media.files.source import read_speech
from tests.media.videos import write_sound


def test_a_flac_that_has_lost_its_beginning_is_silent_there_and_in_time(tmp_path):
    noise = 0.3 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    path = write_sound(tmp_path / "a.flac", noise, rate_hz=16_000, codec="flac")
    whole, content = read_speech(path), bytearray(path.read_bytes())
    content[200 : len(content) // 4] = bytes(len(content) // 4 - 200)
    path.write_bytes(content)
    found = read_speech(path)
    assert abs(len(found) - len(whole)) <= 320
    later = slice(24_000, 40_000)
    shifts = range(-320, 321)
    best = max(shifts, key=lambda n: float(found[later.start + n : later.stop + n] @ whole[later]))
    assert abs(best) <= 320 and np.abs(found[:6_000]).max() == 0
