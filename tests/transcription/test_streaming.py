"""Words while somebody speaks: a model that knows three clips by heart reads them as they are pushed."""

import random

import numpy as np
import pytest
import torch

from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.media.files.audio_file import read_wav
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.transcription.result import OK, UNCLEAR
from espnet_vivit.transcription.streaming import LONGEST_SENTENCE_S, StreamingRecognizer
from tests.experiments import write_experiment
from tests.reader import LIVE_CONFIG, live_reader

TRUE_TO_S = 0.12  # of a word's beginning and end


@pytest.fixture(scope="module")
def reader():
    """(experiment folder, [(frames, samples, utterance)] of the clips that it knows)."""
    experiment, clips = live_reader()
    return experiment, [(read_video(clip.video), read_wav(clip.wav), clip) for clip in clips]


@pytest.fixture(scope="module")
def recognizer(reader):
    """One for all tests: `finish` makes it as new but for the time."""
    return StreamingRecognizer(reader[0], chunk_ms=160)


def strung(reader, order, pause_frames=20):
    """(frames, samples, [(word, start, end)]) of clips with pauses between and behind them: still and silent."""
    frames, samples, words, first = [], [], [], 0
    for index in order:
        pictures, sound, utterance = reader[1][index]
        words += [(w.word, w.start_s + first / 25, w.end_s + first / 25) for w in utterance.word_times]
        still = np.repeat(pictures[-1:], pause_frames, axis=0)
        frames += [pictures, still]
        samples += [sound, np.zeros(pause_frames * 640, np.float32)]
        first += len(pictures) + pause_frames
    return np.concatenate(frames), np.concatenate(samples), words


def push_all(recognizer, frames, samples, *, rng=None, piece=4):
    """All updates, `finish` included; in pieces of equal length, or of random lengths."""
    updates, heard, seen = [], 0, 0
    while seen < len(frames) or heard < len(samples):
        count = piece if rng is None else rng.randint(0, 20)
        sound = 640 * count if rng is None else rng.randint(0, 20 * 640)
        updates.append(recognizer.push(frames[seen : seen + count], samples[heard : heard + sound]))
        seen, heard = seen + count, heard + sound
    return [*updates, recognizer.finish()]


def finished(updates):
    return [piece for update in updates for piece in update.finished]


def said(pieces):
    return [word.text for piece in pieces for word in piece.words]


@pytest.mark.parametrize("chunk_ms", [160, 320, 640])
def test_sentences_are_read_each_by_itself_with_times_and_confidence(reader, chunk_ms):
    frames, samples, truth = strung(reader, [0, 1, 2])
    pieces = finished(push_all(StreamingRecognizer(reader[0], chunk_ms=chunk_ms), frames, samples))
    assert said(pieces) == [word for word, _, _ in truth]
    assert len(pieces) == 3 and all(piece.status == OK and piece.confidence > 0.5 for piece in pieces)
    words = [word for piece in pieces for word in piece.words]
    off = [abs(found.start_s - begin) for found, (_, begin, _) in zip(words, truth, strict=True)]
    off += [abs(found.end_s - end) for found, (_, _, end) in zip(words, truth, strict=True)]
    assert np.quantile(off, 0.9) < TRUE_TO_S
    assert all(piece.start_s <= word.start_s <= word.end_s <= piece.end_s for piece in pieces for word in piece.words)


def test_the_cutting_into_pushes_does_not_matter(reader, recognizer):
    frames, samples, _ = strung(reader, [2, 0])
    expected = finished(push_all(StreamingRecognizer(reader[0], chunk_ms=160), frames, samples))
    for seed in range(2):
        again = StreamingRecognizer(reader[0], chunk_ms=160)
        found = finished(push_all(again, frames, samples, rng=random.Random(seed)))
        assert said(found) == said(expected)
        times = [[w.start_s for piece in pieces for w in piece.words] for pieces in (found, expected)]
        assert times[0] == pytest.approx(times[1])


def test_words_come_while_the_sentence_runs_and_settled_ones_stay(reader):
    recognizer = StreamingRecognizer(reader[0], chunk_ms=160)
    frames, samples, truth = strung(reader, [1])
    settled, first_seen_s = (), {}
    updates = push_all(recognizer, frames, samples)
    for update in updates[:-1]:
        if update.finished:
            break
        assert update.words[: len(settled)] == settled
        settled = update.words[: update.settled]
        for place, word in enumerate(update.words):
            if truth[place][0] == word:
                first_seen_s.setdefault(place, update.read_s)
    assert len(first_seen_s) == len(truth) and settled
    late = [first_seen_s[place] - end for place, (_, _, end) in enumerate(truth)]
    assert np.median(late) <= recognizer.latency_s + 0.2


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_either_stream_alone(reader, modality):
    recognizer = StreamingRecognizer(reader[0], modality=modality, chunk_ms=320)
    frames, samples, clip = reader[1][0]
    for first in range(0, len(frames), 5):
        if modality == "video":
            recognizer.push(frames=frames[first : first + 5])
        else:
            recognizer.push(samples=samples[640 * first : 640 * (first + 5)])
    (piece,) = recognizer.finish().finished
    assert " ".join(said([piece])) == clip.text and piece.modality == modality


def test_words_that_are_not_sure_enough_are_unclear(reader, tmp_path):
    untrained = write_experiment(tmp_path / "untrained", **LIVE_CONFIG)
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 48), dtype=np.uint8), reader[1][0][1][: 60 * 640]
    pieces = finished(push_all(StreamingRecognizer(untrained), *noise))
    assert pieces and all(piece.status == UNCLEAR and not piece.words and piece.nbest[0].words for piece in pieces)
    assert "is below 0.50" in pieces[0].reasons[0]
    believed = finished(push_all(StreamingRecognizer(untrained, min_confidence=0), *noise))
    assert all(piece.status == OK and piece.words == piece.nbest[0].words for piece in believed)


def test_time_without_a_face_is_reported_and_reading_goes_on_behind_it(reader, recognizer):
    frames, samples, truth = strung(reader, [0])
    began_s = recognizer.finish().read_s
    push_all_but_finish = [recognizer.push(frames, samples)]
    update = recognizer.skip(2.0, "no face")
    gap = update.finished[-1]
    assert gap.status == UNCLEAR and gap.reasons == ("no face",)
    assert gap.end_s - gap.start_s == pytest.approx(2.0)
    assert gap.start_s - began_s == pytest.approx(len(frames) / 25)
    behind = finished([recognizer.push(frames, samples), recognizer.finish()])
    assert said(behind) == [word for word, _, _ in truth] == said(finished([*push_all_but_finish, update]))
    assert behind[0].words[0].start_s == pytest.approx(gap.end_s + truth[0][1], abs=TRUE_TO_S)


def test_a_sentence_without_a_pause_is_ended_and_no_word_is_lost(reader):
    order = [0, 1, 2] * 3
    frames, samples, truth = strung(reader, order, pause_frames=0)
    pieces = finished(push_all(StreamingRecognizer(reader[0], chunk_ms=320), frames, samples))
    assert all(piece.end_s - piece.start_s <= 1.25 * LONGEST_SENTENCE_S + 0.5 for piece in pieces)
    assert len(said(pieces)) > 0.9 * len(truth)


def test_nothing_said_gives_no_piece(reader, recognizer):
    still, silence = np.repeat(reader[1][0][0][:1], 100, axis=0), np.zeros(100 * 640, np.float32)
    recognizer.finish()
    assert not finished(push_all(recognizer, still, silence))


def held_bytes(thing, seen=None):
    """Of all tensors and arrays that an object of ours holds, the model left out."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, (torch.nn.Module, str, type)):
        return 0
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        return thing.untyped_storage().nbytes()
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, dict):
        return sum(held_bytes(value, seen) for value in thing.values())
    if isinstance(thing, (list, tuple)):
        return sum(held_bytes(value, seen) for value in thing)
    return (
        held_bytes(vars(thing), seen) if hasattr(thing, "__dict__") and "espnet_vivit" in type(thing).__module__ else 0
    )


@pytest.mark.parametrize("duration_s", [80, pytest.param(3600, marks=pytest.mark.slow)])
def test_an_hour_holds_no_more_than_half_a_minute_and_loses_no_word(reader, duration_s):
    recognizer = StreamingRecognizer(reader[0], chunk_ms=640)
    frames, samples, truth = strung(reader, [0, 1, 2])
    rounds, half_a_minute = round(duration_s * 25 / len(frames)), round(30 * 25 / len(frames))
    held, words = [], 0
    for _ in range(rounds):
        updates = [
            recognizer.push(frames[first : first + 32], samples[640 * first : 640 * (first + 32)])
            for first in range(0, len(frames), 32)
        ]
        words += len(said(finished(updates)))
        held.append(held_bytes([recognizer._stream, recognizer._sentence, recognizer._stillness]))
    words += len(said(recognizer.finish().finished))
    assert max(held[half_a_minute:]) <= 1.1 * max(held[:half_a_minute])
    assert words == len(truth) * rounds


def test_what_cannot_stream_is_said_by_name(reader, tmp_path):
    with pytest.raises(ConfigError, match="multiple of 40"):
        StreamingRecognizer(reader[0], chunk_ms=100)
    with pytest.raises(InputError, match="another size"):
        StreamingRecognizer(reader[0]).push(np.zeros((1, 20, 20), np.uint8), np.zeros(640, np.float32))
    with pytest.raises(ConfigError, match="cannot stream"):
        StreamingRecognizer(write_experiment(tmp_path / "whole"))
    without_ctc = {**LIVE_CONFIG, "model_conf": {"ctc_weight": 0.0}}
    with pytest.raises(ConfigError, match="searches with CTC"):
        StreamingRecognizer(write_experiment(tmp_path / "attention", **without_ctc))
