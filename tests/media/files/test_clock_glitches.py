"""One broken timestamp moves one packet; pauses and joined recordings stay what they are."""

from types import SimpleNamespace

import numpy as np
import pytest

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.clock_glitches import without_glitches
from espnet_vivit.media.files.sound_track import read_speech
from espnet_vivit.media.files.source import open_source
from tests.media.videos import number_of, numbered, write_video


def packet(stream, ms, *, size=100):
    return SimpleNamespace(
        stream=SimpleNamespace(index=stream), pts=ms, dts=ms, duration=40, size=size, is_keyframe=True
    )


def times(given):
    packets = list(without_glitches((packet(*one) for one in given), {0: 0.001, 1: 0.001}))
    return [(one.stream.index, one.pts) for one in packets]


def test_a_packet_whose_neighbours_know_better_follows_the_one_before():
    given = [(0, 0), (1, 0), (0, 40), (0, 9_000_000), (1, 40), (0, 120), (0, 160)]
    assert times(given) == [(0, 0), (1, 0), (0, 40), (0, 80), (1, 40), (0, 120), (0, 160)]


@pytest.mark.parametrize(
    "given",
    [
        [(0, 0), (0, 40), (0, 900_000), (0, 900_040)],  # a pause
        [(0, 0), (0, 40), (0, 900_000)],  # and nothing behind it
        [(0, 900_000), (0, 900_040), (0, 0), (0, 40)],  # another recording begins
        [(0, 0), (1, 900_000), (1, 900_040), (0, 40)],  # clocks of their own
    ],
)
def test_everything_else_is_left_alone(given):
    assert times(given) == given


def test_what_waits_is_bounded():
    given = [(0, 0), (0, 900_000), *((1, 40 * index) for index in range(100))]
    given_out = without_glitches((packet(*one, size=1 << 20) for one in given), {0: 0.001, 1: 0.001})
    assert [next(given_out).pts for _ in range(3)] == [0, 900_000, 0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("hours", [1, 4])
def test_a_flipped_bit_in_a_time_costs_one_picture_at_most(tmp_path, hours):
    path = tmp_path / "odd.flv"
    write_video(path, map(numbered, range(50)), codec="flv1", options={"qscale": "2"})
    data = bytearray(path.read_bytes())
    at = 13  # behind the file's header and the first size
    tags = []
    while at + 11 < len(data):
        tags.append(at)
        at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
    broken = [tag for tag in tags if data[tag] == 9][20]  # of the pictures
    time_ms = int.from_bytes(bytes([data[broken + 7], *data[broken + 4 : broken + 7]]), "big") + hours * 3_600_000
    data[broken + 7], data[broken + 4 : broken + 7] = time_ms >> 24, (time_ms & 0xFFFFFF).to_bytes(3, "big")
    path.write_bytes(data)
    with open_source(path) as source:
        numbers = [number_of(picture) for picture in source.frames()]
    assert len(numbers) == 50 and [n for n in numbers if n != 20] == [n for n in range(50) if n != 20][: len(numbers)]


@pytest.mark.timeout(60)
def test_a_hole_of_hours_in_the_sound_is_an_error_and_no_endless_silence(tmp_path):
    import av

    path = tmp_path / "hole.mka"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for begin_s in (0, 1, 11_000, 11_001):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16_000), 3000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, begin_s * 16_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match=r"hole\.mka: its sound pauses: found 3\.1 hours"):
        read_speech(path)
    assert len(read_speech(path, end_s=2.0)) == 32_000
