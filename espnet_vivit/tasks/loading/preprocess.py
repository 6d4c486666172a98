"""AVSRPreprocessor: one utterance as loaded in, the arrays of a batch out.

In:  video (T, H, W) uint8, speech (N,) or (N, channels), text and word_times as strings; any of them may be absent.
Out: video (T, S, S) uint8, cropped for the vision encoder; speech (N,) float32; text (L,), frame_labels (T',) int64.

Augmentation is drawn once per sample and anew each epoch. ESPnet seeds numpy's global generator with seed + epoch, and
with seed + epoch + worker in each loader process; every sample takes one draw of it and mixes its utterance id in.
"""

import logging
import zlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

import numpy as np

from espnet_vivit.data.data_dir import WordTime, parse_word_times, read_scp
from espnet_vivit.data.noise import make_babble, mix_at_snr, read_wav
from espnet_vivit.errors import ConfigError, DataError, EspnetVivitError, InputError
from espnet_vivit.espnet_compat import AbsPreprocessor, TokenIDConverter
from espnet_vivit.frontend.presets import VisualPreset
from espnet_vivit.model.fusion import check_durations
from espnet_vivit.tasks.loading.augment import Streams, change_speed, crop, crop_to_words, flip, join, mask_time
from espnet_vivit.tasks.loading.augmentation import Augmentation
from espnet_vivit.tasks.loading.frame_labels import check_within, check_words, frame_labels
from espnet_vivit.tasks.loading.pieces import tokenizer_for
from espnet_vivit.units import VIDEO_RATE_HZ

_KNOWN = ("video", "speech", "text", "word_times")
log = logging.getLogger(__name__)
JOIN_REACH = 50  # utterances before and behind in the order of their ids, which begin with the speaker


class AVSRPreprocessor(AbsPreprocessor):
    """`preprocessor(utterance id, data) -> data`, an ESPnet preprocessor.

    `preset` and `feature_rate` come from the model's configuration, `augmentation` from `preprocessor_conf`. It changes
    clips in training only; `now` is what it is in the epoch that `set_epoch` has named, the first until then.
    """

    def __init__(
        self,
        train: bool,
        *,
        token_type: str,
        token_list: str | Sequence[str],
        preset: VisualPreset | None,
        feature_rate: str,
        bpemodel: str | None = None,
        augmentation: Augmentation | None = None,
    ):
        super().__init__(train)
        self.augmentation = Augmentation() if augmentation is None else augmentation
        self.tokenizer = tokenizer_for(token_type, bpemodel, train=train)
        self.token_ids = TokenIDConverter(token_list=token_list)
        spaced = token_type != "char" or "<space>" in self.token_ids.token2id
        self.blank = " " if spaced else ""  # between utterances: some languages know none
        self.preset, self.feature_rate = preset, feature_rate
        self.utt_ids: list[str] = []
        self.load: Callable[[str], Mapping] | None = None
        noise_scp, talkers = self.augmentation.noise_scp, self.augmentation.noise_talkers
        self.noises = read_scp(noise_scp) if train and noise_scp is not None else {}
        self.noise_ids = list(self.noises)  # to draw from by number, once for all clips
        most = max(1, len(self.noises) - 1)  # a clip's own sound is no noise to it
        self.noise_talkers = min(talkers, most) if self.noises else talkers
        if self.noise_talkers < talkers:
            told = "noise_talkers: %d instead of %d sounds at once, as there are %d in %s"
            log.info(told, most, talkers, len(self.noises), noise_scp)
        self.set_epoch(1)

    def join_from(self, load: Callable[[str], Mapping], utt_ids: Sequence[str]) -> None:
        """Where `join_prob` finds what follows: `load(utterance id)` gives the data of one as `__call__` takes them."""
        self.load, self.utt_ids = load, sorted(utt_ids)

    def set_epoch(self, epoch: int) -> None:
        """Take the values of this epoch, from 1, of all that is scheduled."""
        self.now = self.augmentation.at(epoch)

    def __repr__(self) -> str:
        about = f"train={self.train}, preset={self.preset}, noises={len(self.noises)}, {self.augmentation}"
        return f"AVSRPreprocessor({about})"

    def __call__(self, uid: str, data: Mapping[str, np.ndarray | str]) -> dict[str, np.ndarray]:
        try:
            return self._process(uid, dict(data))
        except InputError as error:
            raise DataError(f"utterance {uid!r}: {error}") from error

    def _process(self, uid: str, data: dict) -> dict[str, np.ndarray]:
        rng = self._generator(uid) if self.train else None
        streams, text = self._read(uid, data, rng)
        speakers = {uid}
        if rng is not None and self.now.join_prob and rng.random() < cast(float, self.now.join_prob):
            next_uid = self._next_utterance(uid, rng)
            assert self.load is not None  # else there was no next utterance
            more, next_text = self._read(next_uid, dict(self.load(next_uid)), rng)
            if (streams.frames + more.frames) / VIDEO_RATE_HZ <= self.now.join_max_s:
                _check_same_size(uid, streams, next_uid, more)
                streams = join(streams, more)
                text = None if text is None else f"{text}{self.blank}{next_text}"
                speakers.add(next_uid)
        out = {name: value for name, value in data.items() if name not in _KNOWN}  # allow_variable_data_keys
        if streams.times is not None:
            rate = {"frames": streams.frames, "feature_rate": self.feature_rate}
            out["frame_labels"] = frame_labels(streams.times, encode=self._encode, **rate)
        if streams.video is not None:
            out["video"] = self._look(streams.video, rng)
        if streams.speech is not None:
            out["speech"] = self._mix_noise(speakers, streams.speech, rng)
        if text is not None:
            out["text"] = np.array(self._encode(text), dtype=np.int64)
        return out

    def _read(self, uid: str, data: Mapping, rng: np.random.Generator | None) -> tuple[Streams, str | None]:
        """What was loaded, checked; with `rng` cut between words and played faster or slower."""
        video, speech, text = data.get("video"), data.get("speech"), data.get("text")
        times = self._word_times(uid, data.get("word_times"), text)
        if video is not None:
            video = _checked_video(video)
        if speech is not None:
            speech = _mono(speech)
        if video is not None and speech is not None:
            check_durations(len(speech), len(video), clip=uid)
        streams = Streams(video, speech, times)
        if times and (video is not None or speech is not None):
            check_within(uid, times, streams.frames / VIDEO_RATE_HZ)
        if rng is None:
            return streams, text
        video, speech, times, text = self._cut_and_speed(uid, video, speech, times, text, rng)
        return Streams(video, speech, times), text

    def _next_utterance(self, uid: str, rng: np.random.Generator) -> str:
        if self.load is None:
            raise ConfigError(
                "join_prob needs a data set to choose the next utterance from",
                found="none",
                fix="Set join_prob: 0, or give `join_from` yours.",
            )
        place = bisect_left(self.utt_ids, uid)
        near = self.utt_ids[max(0, place - JOIN_REACH) : place + JOIN_REACH + 1]
        return near[rng.integers(len(near))]

    def _generator(self, uid: str) -> np.random.Generator:
        return np.random.default_rng([np.random.randint(2**31), zlib.crc32(uid.encode())])

    def _encode(self, text: str) -> list[int]:
        return self.token_ids.tokens2ids(self.tokenizer.text2tokens(text))

    def _word_times(self, uid: str, line: str | None, text: str | None) -> list[WordTime] | None:
        if line is None:
            return None
        try:
            times = list(parse_word_times(line))
        except EspnetVivitError as error:
            raise DataError(f"word_times of utterance {uid!r}: {error}") from error
        if text is not None:
            check_words(uid, times, text)
        return times

    def _cut_and_speed(self, uid, video, speech, times, text, rng):
        """Temporal augmentation of both streams, the word times and, where words are cut away, the text."""
        if rng.random() < self.now.word_crop_prob:
            if times is None:
                raise ConfigError(
                    "word_crop_prob cuts clips between words, so it needs word_times",
                    found=f"none for utterance {uid!r}",
                    fix="Add the data directory's word_times (name word_times, type text), or set word_crop_prob: 0.",
                )
            video, speech, times = crop_to_words(video, speech, times, min_words=self.now.word_crop_min, rng=rng)
            text = " ".join(time.word for time in times)
        if rng.random() < self.now.speed_prob:
            video, speech, times = change_speed(video, speech, times, speed=rng.uniform(*self.now.speed_range))
        return video, speech, times, text

    def _look(self, video: np.ndarray, rng) -> np.ndarray:
        if self.preset is not None:
            video = crop(video, self.preset, rng=rng if self.now.random_crop else None)
        if rng is not None:
            if rng.random() < self.now.flip_prob:
                video = flip(video)
            video = mask_time(video, masks_per_s=self.now.time_masks_per_s, max_s=self.now.time_mask_max_s, rng=rng)
        return np.ascontiguousarray(video)

    def _mix_noise(self, uids: Collection[str], speech: np.ndarray, rng) -> np.ndarray:
        if rng is None or not self.noises or rng.random() >= self.now.noise_prob:
            return speech
        ratios_db = cast("Sequence[float | None]", self.now.noise_snr_db)
        snr_db = ratios_db[rng.integers(len(ratios_db))]
        if snr_db is None:  # not `if not snr_db`: 0 dB is a ratio like any other
            return speech
        voices = [voice for voice in map(read_wav, self._others(uids, rng)) if voice.any()]
        if not voices or not speech.any():  # nobody babbles under their own voice; silence has no ratio to anything
            return speech
        noise = make_babble(voices, len(speech), rng)
        return mix_at_snr(speech, noise, float(snr_db)) if noise.any() else speech

    def _others(self, uids: Collection[str], rng: np.random.Generator) -> list[str]:
        """Paths of `noise_talkers` different sounds, or as many as there are, each but those of `uids` equally likely.

        As many more are drawn as may turn out to be the clip's own: no list of all the others is made for a clip.
        """
        most = min(len(self.noise_ids), self.noise_talkers + len(uids))
        drawn = [self.noise_ids[index] for index in rng.choice(len(self.noise_ids), most, replace=False)]
        return [self.noises[key] for key in drawn if key not in uids][: self.noise_talkers]


def _checked_video(video: np.ndarray) -> np.ndarray:
    if video.ndim != 3 or video.dtype != np.uint8 or 0 in video.shape:
        raise InputError("the video is no gray clip", found=f"{video.dtype} {video.shape}", expected="uint8 (T, H, W)")
    return video


def _check_same_size(uid: str, streams: Streams, next_uid: str, more: Streams) -> None:
    """Raise for two utterances that no camera could have taken one after the other, or that have other streams."""
    shapes = [
        [None if x.video is None else x.video.shape[1:], x.speech is None, x.times is None] for x in (streams, more)
    ]
    if shapes[0] != shapes[1]:
        kinds = [
            "{} pixels, {}sound, {}word times".format(size, "no " * silent, "no " * untimed)
            for size, silent, untimed in shapes
        ]
        raise DataError(
            f"utterances {uid!r} and {next_uid!r} cannot be joined",
            found=" and ".join(kinds),
            expected="the same streams and sizes in all utterances",
            fix="Prepare all clips alike, or set join_prob: 0 in preprocessor_conf.",
        )


def _mono(speech: np.ndarray) -> np.ndarray:
    """(N,) float32 of a waveform with one or several channels."""
    if speech.ndim == 2:
        speech = speech.mean(axis=1)
    if speech.ndim != 1 or not len(speech):
        raise InputError("the speech is no waveform", found=f"shape {speech.shape}", expected="(N,) with N >= 1")
    return speech.astype(np.float32)
