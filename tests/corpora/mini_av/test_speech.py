import _ctypes
import ctypes.util
import sys
from itertools import pairwise

import numpy as np
import pytest

from espnet_vivit.corpora.mini_av import speech as mini_av_speech
from espnet_vivit.corpora.mini_av.grammar import SLOTS, draw_sentences
from espnet_vivit.corpora.mini_av.speakers import SEEN_SPEAKERS, UNSEEN_SPEAKERS, make_speaker
from espnet_vivit.corpora.mini_av.speech import Voice, espeak_version, speak
from espnet_vivit.corpora.mini_av.visemes import visemes_of
from espnet_vivit.errors import DataError, MissingDependencyError

VOICE = Voice("m3", rate_wpm=150, pitch=50, pitch_range=50)
TEXT = "bring purple under b seven tomorrow"


def test_words_and_phonemes_follow_without_gaps_and_lie_in_the_samples():
    for text in draw_sentences([40], np.random.default_rng(5))[0]:
        speech = speak(text, VOICE)
        assert [word.name for word in speech.words] == text.split()
        assert speech.words[0].start_s == 0
        assert 0 < speech.words[-1].end_s <= len(speech.samples) / speech.rate_hz
        for spans in (speech.words, speech.phonemes):
            for left, right in pairwise(spans):
                assert left.end_s == right.start_s
        assert all(word.end_s - word.start_s > 0.1 for word in speech.words)
        starts = {phoneme.start_s for phoneme in speech.phonemes}
        assert {word.start_s for word in speech.words} <= starts


def test_the_times_agree_with_the_sound():
    """Independent of espeak-ng's events: fricatives are where the zero crossings are, closures where it is quiet."""
    speech = speak("show white by h zero soon", VOICE)

    def crossings(span):
        part = speech.samples[round(span.start_s * speech.rate_hz) : round(span.end_s * speech.rate_hz)]
        return np.mean(np.diff(np.sign(part.astype(float))) != 0)

    by_name = {phoneme.name.lstrip("',"): phoneme for phoneme in speech.phonemes}
    assert min(crossings(by_name[name]) for name in ("S", "s", "z")) > 2 * crossings(by_name["u:"])
    end = round(speech.words[-1].end_s * speech.rate_hz)
    loudest = np.abs(speech.samples).max()
    assert np.abs(speech.samples[end + 200 :]).max(initial=0) < 0.1 * loudest
    assert np.abs(speech.samples[end - 4000 : end]).max() > 0.1 * loudest


def test_speech_does_not_depend_on_what_was_said_before():
    for name in SEEN_SPEAKERS + UNSEEN_SPEAKERS:
        voice = make_speaker(name, seed=0).voice
        first = speak(TEXT, voice)
        speak("open the door", VOICE)
        second = speak(TEXT, voice)
        assert first.words == second.words and first.phonemes == second.phonemes
        np.testing.assert_array_equal(first.samples, second.samples)


def test_no_voice_uses_espeaks_clock_seeded_breath():
    with mini_av_speech._fresh_library() as (library, _):
        _, data = mini_av_speech._info(library)
    for name in SEEN_SPEAKERS + UNSEEN_SPEAKERS:
        variant = data / "voices" / "!v" / make_speaker(name, seed=0).voice.variant
        assert "breath" not in variant.read_text()


def test_voices_differ_in_pitch_and_rate():
    slow, fast = speak(TEXT, VOICE), speak(TEXT, Voice("m3", rate_wpm=200, pitch=50, pitch_range=50))
    assert slow.words[-1].end_s > 1.15 * fast.words[-1].end_s
    assert not np.array_equal(slow.samples, speak(TEXT, Voice("m3", rate_wpm=150, pitch=80, pitch_range=50)).samples)


def test_words_of_a_slot_look_different_and_the_alphabets_homophenes_are_the_three_known_pairs():
    def shapes(word: str) -> str:
        span = (speech := speak(f"by {word} by", VOICE)).words[1]
        inside = [p for p in speech.phonemes if span.start_s <= p.start_s < span.end_s]
        return " ".join(viseme for phoneme in inside for viseme in visemes_of(phoneme.name))

    for words in SLOTS.values():
        assert len({shapes(word) for word in words}) == len(words)
    letters: dict[str, set[str]] = {}
    for letter in "bcdefghijklmnopqrstuvwxyz":  # without "a", which would be read as the article
        letters.setdefault(shapes(letter), set()).add(letter)
    assert sorted(map(sorted, (group for group in letters.values() if len(group) > 1))) == [
        ["b", "p"],
        ["d", "t"],
        ["l", "n"],
    ]


def test_every_word_next_to_every_word_can_be_spoken_and_drawn():
    """espeak-ng's dictionary joins some pairs of words; none of ours, in any voice's rate."""
    slots = list(SLOTS.values())
    for round_ in range(max(map(len, slots)) ** 2):
        left, right = round_ // 10, round_ % 10
        text = " ".join(words[(left if i % 2 else right) % len(words)] for i, words in enumerate(slots))
        for phoneme in speak(text, VOICE).phonemes:
            assert visemes_of(phoneme.name)


def test_without_espeak_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    for call in (espeak_version, lambda: speak(TEXT, VOICE)):
        with pytest.raises(MissingDependencyError, match="pip install espeakng-loader") as caught:
            call()
        assert str(caught.value).count("\n") == 0


def test_a_library_that_stays_loaded_is_refused():
    path, _ = mini_av_speech._locate()
    kept = ctypes.CDLL(path)
    try:
        with pytest.raises(DataError, match="keeps espeak-ng loaded"):
            speak(TEXT, VOICE)
    finally:
        _ctypes.dlclose(kept._handle)
    speak(TEXT, VOICE)


def test_an_unknown_voice_is_named():
    with pytest.raises(DataError, match="no voice variant 'nobody'"):
        speak(TEXT, Voice("nobody", 150, 50, 50))


def test_words_that_espeak_joins_or_splits_are_refused():
    with pytest.raises(DataError, match="runs words"):
        speak("bring  blue", VOICE)
