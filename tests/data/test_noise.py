from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio

from espnet_vivit.data.data_dir import Utterance, read_data_dir, validate_data_dir, write_data_dir
from espnet_vivit.data.noise import MIN_TALKERS, add_babble, make_babble, mix_at_snr
from espnet_vivit.errors import DataError, InputError, MediaError
from espnet_vivit.media.files.audio_file import read_wav, write_wav

RATIOS_DB = [-5, 0, 0.0, 7.5, 20]


def power_ratio_db(speech: np.ndarray, mixture: np.ndarray) -> float:
    noise = mixture.astype(np.float64) - speech
    return 10 * np.log10(np.sum(speech.astype(np.float64) ** 2) / np.sum(noise**2))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def sets(tmp_path, rng) -> dict[str, Path]:
    """A training set of 8 voices (each a tone of its own) and a test set of two of them."""
    directories = {}
    for name, speakers, lines in (("train", range(8), 3), ("test", range(2), 2)):
        utterances = []
        for speaker in speakers:
            for line in range(lines):
                frames = int(rng.integers(20, 40))
                path = tmp_path / f"s{speaker}_{name}_{line}.flac"
                tone = np.sin(2 * np.pi * (200 + 150 * speaker) * np.arange(640 * frames) / 16000)
                write_wav(path, 0.3 * tone * rng.uniform(0.2, 1))
                utterances.append(Utterance(path.stem, f"s{speaker}", "a b", str(path), "v.npy", frames, 640 * frames))
        write_data_dir(tmp_path / name, utterances)
        directories[name] = tmp_path / name
    return directories


@pytest.mark.parametrize("snr_db", RATIOS_DB)
@pytest.mark.parametrize("noise_length", [16000, 40000, 777], ids=["equal", "longer", "looped"])
def test_the_ratio_of_powers_is_the_one_asked_for(rng, snr_db, noise_length):
    speech = (0.1 * rng.standard_normal(16000)).astype(np.float32)
    mixture = mix_at_snr(speech, 5 * rng.standard_normal(noise_length), snr_db)
    assert mixture.dtype == np.float32 and mixture.shape == speech.shape
    assert power_ratio_db(speech, mixture) == pytest.approx(snr_db, abs=1e-3)


@pytest.mark.parametrize("snr_db", RATIOS_DB)
def test_the_mixture_is_that_of_torchaudio(rng, snr_db):
    speech, noise = rng.standard_normal((2, 8000)).astype(np.float32)
    expected = torchaudio.functional.add_noise(
        torch.from_numpy(speech)[None], torch.from_numpy(noise)[None], torch.tensor([float(snr_db)])
    )
    np.testing.assert_allclose(mix_at_snr(speech, noise, snr_db), expected[0].numpy(), atol=1e-4)


def test_short_noise_is_looped_from_its_beginning(rng):
    speech, noise = rng.standard_normal(1000), rng.standard_normal(300)
    added = mix_at_snr(speech, noise, 0) - speech
    np.testing.assert_allclose(added[300:600], added[:300], atol=1e-5)
    np.testing.assert_allclose(added[900:], added[:100], atol=1e-5)


@pytest.mark.parametrize(
    ("speech", "noise", "snr_db", "message"),
    [
        (np.zeros(10), np.ones(10), 0, "the speech is silent"),
        (np.ones(10), np.zeros(10), 0, "the noise is silent"),
        (np.ones(10), np.concatenate([np.zeros(10), np.ones(10)]), 0, "the noise is silent"),
        (np.ones(0), np.ones(10), 0, "bad speech"),
        (np.ones((10, 2)), np.ones(10), 0, "bad speech"),
        (np.ones(10), np.ones(0), 0, "bad noise"),
        (np.full(10, np.nan), np.ones(10), 0, "the speech holds NaN"),
        (np.ones(10), np.ones(10), np.inf, "bad signal-to-noise ratio"),
    ],
)
def test_what_has_no_ratio_is_refused(speech, noise, snr_db, message):
    with pytest.raises(InputError, match=message):
        mix_at_snr(speech, noise, snr_db)


def test_babble_has_every_voice_at_equal_power(rng):
    """Tones of very different loudness come out as equal peaks of the spectrum."""
    voices = [amplitude * np.sin(2 * np.pi * hz * np.arange(4000) / 16000) for amplitude, hz in ((1, 400), (0.01, 900))]
    spectrum = np.abs(np.fft.rfft(make_babble(voices, 16000, rng)))
    assert spectrum[400] == pytest.approx(spectrum[900], rel=0.02)
    assert spectrum[[400, 900]].min() > 20 * np.delete(spectrum, [400, 900]).max()


def test_a_silent_voice_is_refused(rng):
    with pytest.raises(InputError, match="silent"):
        make_babble([np.ones(5), np.zeros(5)], 10, rng)


@pytest.mark.parametrize("snr_db", [-20, 0, 10])
def test_a_noisy_set_has_the_ratio_over_each_utterance_and_the_same_videos_and_texts(sets, tmp_path, snr_db):
    add_babble(sets["test"], sets["train"], tmp_path / "noisy", snr_db=snr_db, progress=False)
    clean, noisy = read_data_dir(sets["test"]), read_data_dir(tmp_path / "noisy")
    assert [replace(u, wav=None) for u in noisy] == [replace(u, wav=None) for u in clean]
    assert not {u.wav for u in noisy} & {u.wav for u in clean}
    for before, after in zip(clean, noisy, strict=True):
        speech, mixture = read_wav(before.wav), read_wav(after.wav)
        scale = mixture @ speech / (speech @ speech)  # the tones of the babble are orthogonal to the speaker's own
        assert power_ratio_db(speech, mixture / scale) == pytest.approx(snr_db, abs=0.3)
        assert np.abs(mixture).max() < 1


def test_six_other_talkers_babble(sets, tmp_path):
    add_babble(sets["test"], sets["train"], tmp_path / "noisy", snr_db=0, progress=False)
    for utterance in read_data_dir(tmp_path / "noisy"):
        mixture = read_wav(utterance.wav)
        spectrum = np.abs(np.fft.rfft(mixture, 16000))
        voices = [spectrum[200 + 150 * speaker - 3 : 200 + 150 * speaker + 4].max() for speaker in range(8)]
        present = [speaker for speaker, level in enumerate(voices) if level > 0.1 * max(voices)]
        assert len(present) == MIN_TALKERS + 1  # and the speaker, once


def test_noise_depends_on_seed_and_utterance_alone(sets, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        add_babble(sets["test"], sets["train"], tmp_path / name, snr_db=0, seed=seed, progress=False)
    write_data_dir(tmp_path / "one", read_data_dir(sets["test"])[1:2])
    add_babble(tmp_path / "one", sets["train"], tmp_path / "d", snr_db=0, progress=False)
    a, b, c = ([read_wav(u.wav) for u in read_data_dir(tmp_path / name)] for name in "abc")
    for one, same, other in zip(a, b, c, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)
    np.testing.assert_array_equal(read_wav(read_data_dir(tmp_path / "d")[0].wav), a[1])


def test_two_sentences_of_one_speaker_have_other_voices_under_them(sets, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr("espnet_vivit.data.noise.read_wav", lambda path: read.append(Path(path).stem) or read_wav(path))
    add_babble(sets["test"], sets["train"], tmp_path / "noisy", snr_db=0, progress=False)
    size = MIN_TALKERS + 1  # the speaker's own sentence comes last
    voices = {read[first + size - 1]: read[first : first + size - 1] for first in range(0, len(read), size)}
    assert set(voices) == {utterance.utt_id for utterance in read_data_dir(sets["test"])}
    assert voices["s0_test_0"] != voices["s0_test_1"]


def test_one_speaker_babbles_with_as_many_other_sentences(sets, tmp_path, monkeypatch):
    """Babble under a training sentence of the only speaker: six of that speaker's others, never itself, none twice."""
    alone = [replace(u, speaker="s0") for u in read_data_dir(sets["train"])]
    write_data_dir(tmp_path / "alone", alone)
    write_data_dir(tmp_path / "source", alone[:3])
    read = []
    monkeypatch.setattr("espnet_vivit.data.noise.read_wav", lambda path: read.append(Path(path).stem) or read_wav(path))
    add_babble(tmp_path / "source", tmp_path / "alone", tmp_path / "noisy", snr_db=0, progress=False)
    for first in range(0, 3 * (MIN_TALKERS + 1), MIN_TALKERS + 1):
        *voices, own = read[first : first + MIN_TALKERS + 1]
        assert len(set(voices)) == MIN_TALKERS and own not in voices


def test_too_few_talkers_and_missing_audio_are_refused(sets, tmp_path):
    write_data_dir(tmp_path / "few", read_data_dir(sets["train"])[:5])
    with pytest.raises(DataError, match=r"found 5 sentences that are not in .*; expected at least 6"):
        add_babble(sets["test"], tmp_path / "few", tmp_path / "noisy", progress=False)
    silent = [replace(u, wav=None, num_samples=0) for u in read_data_dir(sets["test"])]
    write_data_dir(tmp_path / "mute", silent)
    with pytest.raises(DataError, match="has no audio"):
        add_babble(tmp_path / "mute", sets["train"], tmp_path / "noisy", progress=False)
    Path(read_data_dir(sets["test"])[2].wav).unlink()
    with pytest.raises(MediaError, match="s1_test_0"):
        add_babble(sets["test"], sets["train"], tmp_path / "noisy", progress=False)
    assert not (tmp_path / "noisy/text").exists()


def test_a_noisy_set_of_mini_av_is_valid(tmp_path):
    from espnet_vivit.corpora.mini_av.corpus import prepare

    counts = {"num_train": 10, "num_dev": 1, "num_test_seen": 2, "num_test_unseen": 1}
    directories = prepare(tmp_path, nj=1, progress=False, **counts)
    add_babble(directories["test_seen"], directories["train"], tmp_path / "noisy", snr_db=0, progress=False)
    assert len(validate_data_dir(tmp_path / "noisy")) == 2
