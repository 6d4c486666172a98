"""A data directory and a Speech2Text in, ESPnet's `<output_dir>/1best_recog/{text,token,token_int,score}` out.

With word times, each folder also gets `word_times`, in the format of a data directory (`start:end:word …`), and
`confidence`, one number from 0 to 1 for each word. The folders appear when every utterance has been decoded: an
interrupted run leaves nothing that could be scored. `timing` says how long the model took for how much of a recording.
"""

import logging
import math
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader
from tqdm import tqdm

from espnet_vivit.data.word_times import WordTime, format_word_times
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.decode.video_control import controlled_video
from espnet_vivit.decode.word_times import Transcript
from espnet_vivit.errors import DataError, EspnetVivitError
from espnet_vivit.espnet_compat import DatadirWriter
from espnet_vivit.evaluation.decode_timing import TIMING, write_timing
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.units import seconds_of_frames, seconds_of_samples


def build_loader(
    speech2text: Speech2Text,
    triples: Sequence[tuple[str, str, str]],
    *,
    key_file: str | None = None,
    num_workers: int = 1,
    allow_variable_data_keys: bool = False,
) -> DataLoader:
    """One preprocessed utterance at a time, as the model's training configuration wants it."""
    args = speech2text.asr_train_args
    return AVSRTask.build_streaming_iterator(
        list(triples),
        preprocess_fn=AVSRTask.build_preprocess_fn(args, train=False),
        collate_fn=AVSRTask.build_collate_fn(args, train=False),
        key_file=key_file,
        dtype="float32",
        num_workers=num_workers,
        allow_variable_data_keys=allow_variable_data_keys,
        inference=True,
    )


def recognize(
    speech2text: Speech2Text,
    loader: Iterable,
    output_dir: str | Path,
    *,
    video_control: str = "none",
    word_times: bool = False,
    batch_size: int = 1,
) -> int:
    """Decode every utterance of the loader, `batch_size` in one search, and write the results; return their number."""
    output_dir = Path(output_dir)
    partial = output_dir / ".partial"
    for folder in (partial, *output_dir.glob("*best_recog")):
        shutil.rmtree(folder, ignore_errors=True)
    (output_dir / TIMING).unlink(missing_ok=True)
    count, clip_s, spent_s = 0, 0.0, 0.0
    with DatadirWriter(partial) as writer:
        loader = tqdm(loader, desc="decode", unit="clip", mininterval=1 if sys.stderr.isatty() else 30)
        for clips in _batches(loader, batch_size, video_control):
            begun_s = time.perf_counter()
            try:
                transcripts = speech2text.recognize_batch(list(clips.values()), word_times=word_times)
            except EspnetVivitError as error:
                names = " or ".join(map(repr, clips))
                raise DataError(f"utterance {names} cannot be decoded: {error}") from error
            spent_s += time.perf_counter() - begun_s
            clip_s += sum(duration_s(**streams) for streams in clips.values())
            for utt_id, nbest in zip(clips, transcripts, strict=True):
                _write(writer, utt_id, nbest, word_times=word_times)
            count += len(clips)
    if count == 0:
        raise DataError("there is no utterance to decode")
    for folder in partial.iterdir():
        folder.replace(output_dir / folder.name)
    partial.rmdir()
    write_timing(output_dir / TIMING, spent_s, clip_s)
    return count


def _batches(loader: Iterable, size: int, video_control: str) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """Utterance -> its streams, of `size` utterances of the loader at a time."""
    clips = {}
    for (utt_id,), batch in loader:
        streams = {name: batch[name][0].numpy() for name in ("speech", "video") if name in batch}
        if "video" in streams:
            streams["video"] = controlled_video(streams["video"], streams.get("speech"), video_control)
        clips[utt_id] = streams
        if len(clips) == size:
            yield clips
            clips = {}
    if clips:
        yield clips


def duration_s(*, speech: np.ndarray | None = None, video: np.ndarray | None = None) -> float:
    """Of one clip: of its video (T, H, W) at 25 frames per second, or else of its sound (N,) at 16 kHz."""
    if video is not None:
        return seconds_of_frames(len(video))
    assert speech is not None  # a clip has one of the two
    return seconds_of_samples(len(speech))


def _write(writer, utt_id: str, transcripts: Sequence[Transcript], *, word_times: bool) -> None:
    if transcripts[0].score == -math.inf:
        logging.warning("utterance %s: the search ended without a hypothesis; its transcript is empty", utt_id)
    for rank, transcript in enumerate(transcripts, 1):
        folder = writer[f"{rank}best_recog"]
        folder["text"][utt_id] = transcript.text
        folder["token"][utt_id] = " ".join(transcript.tokens)
        folder["token_int"][utt_id] = " ".join(map(str, transcript.ids))
        folder["score"][utt_id] = "-inf" if transcript.score == -math.inf else f"{transcript.score:.4f}"
        if word_times:
            times = [WordTime(word.start_s, word.end_s, word.text) for word in transcript.words]
            folder["word_times"][utt_id] = format_word_times(times)
            folder["confidence"][utt_id] = " ".join(f"{word.confidence:.4f}" for word in transcript.words)
