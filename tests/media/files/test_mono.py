"""Channels that cancel are not mixed; all others are, as before."""

import logging

import numpy as np
import pytest

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.mono import CANCELLING
from espnet_vivit.media.files.sound_track import SpeechReader
from espnet_vivit.media.files.source import read_speech
from tests.media.videos import write_sound

RATE_HZ = 16_000
VOICE = np.random.default_rng(5).normal(0, 0.1, 6 * RATE_HZ).astype(np.float32)
OTHER = np.random.default_rng(6).normal(0, 0.1, 6 * RATE_HZ).astype(np.float32)


def heard(tmp_path, channels, layout="stereo", **span):
    path = write_sound(tmp_path / "a.wav", np.stack(channels), rate_hz=RATE_HZ, layout=layout)
    return read_speech(path, **span)


@pytest.mark.parametrize("faint", [1.0, 0.9])
def test_an_inverted_channel_does_not_silence_the_other(tmp_path, caplog, faint):
    with caplog.at_level(logging.WARNING):
        speech = heard(tmp_path, [VOICE, -faint * VOICE])
    np.testing.assert_allclose(speech[: len(VOICE)], VOICE, atol=2e-3)
    assert CANCELLING in caplog.text


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([VOICE, VOICE], VOICE),
        ([VOICE, 0 * VOICE], VOICE / 2),  # one-sided
        ([VOICE, OTHER], (VOICE + OTHER) / 2),
        ([VOICE, -0.5 * VOICE], VOICE / 4),
    ],
    ids=["same", "one-sided", "different", "half"],
)
def test_channels_that_do_not_cancel_are_mixed(tmp_path, caplog, channels, expected):
    speech = heard(tmp_path, channels)[: len(VOICE)]
    gain = float(speech @ expected / (expected @ expected))  # FFmpeg's own for two channels: 3 dB above the mean
    np.testing.assert_allclose(speech, gain * expected, atol=2e-3)
    assert 0.9 < gain < 1.5 and CANCELLING not in caplog.text


def test_silence_before_the_speech_decides_nothing(tmp_path):
    silence = np.zeros(4 * RATE_HZ, np.float32)
    voice = np.concatenate([silence, VOICE])
    np.testing.assert_allclose(heard(tmp_path, [voice, -voice])[: len(voice)], voice, atol=2e-3)


@pytest.mark.parametrize("start_s", [0.0, 1.0, 30.0])
def test_every_span_of_a_file_is_read_from_the_same_channels(tmp_path, start_s):
    """Behind 20 s it is cancelled no more: the choice is the file's, and is made once."""
    first, later = np.tile(VOICE, 4), np.tile(OTHER, 2)
    left, right = np.concatenate([first, later]), np.concatenate([-first, np.zeros_like(later)])
    path = write_sound(tmp_path / "a.wav", np.stack([left, right]), rate_hz=RATE_HZ, layout="stereo")
    reader = SpeechReader(path, start_s=start_s)
    begin = round(start_s * RATE_HZ)
    np.testing.assert_allclose(reader.take(RATE_HZ), left[begin : begin + RATE_HZ], atol=2e-3)
    assert CANCELLING in reader.remarks
    reader.close()


def test_the_voice_in_the_middle_of_five_channels_is_mixed_by_ffmpeg(tmp_path, caplog):
    channels = [0 * VOICE] * 6
    channels[2] = VOICE
    speech = heard(tmp_path, channels, layout="5.1")
    assert np.corrcoef(speech[: len(VOICE)], VOICE)[0, 1] > 0.999 and CANCELLING not in caplog.text


def test_field_case_antiphase(shared_dir):
    speech = read_speech(shared_dir / "cases/field/antiphase/antiphase.mkv")
    assert speech.std() > 0.05


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_sound_that_is_no_numbers_is_an_error_that_names_its_file_and_time(tmp_path, spoilt, layout):
    voice = VOICE.copy()
    voice[3 * RATE_HZ] = spoilt
    channels = [voice] if layout == "mono" else [voice, voice]
    path = write_sound(tmp_path / "a.wav", np.stack(channels), rate_hz=RATE_HZ, layout=layout, codec="pcm_f32le")
    with pytest.raises(MediaError, match=r"a\.wav: its sound has samples that are not numbers .* near [23]\.\d+ s"):
        read_speech(path)
    assert len(read_speech(path, end_s=2.0)) == 2 * RATE_HZ
