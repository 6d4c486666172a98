"""Transcribing decodes each picture once, looks for faces in it once, and computes the tower's windows once."""

from collections import Counter

import numpy as np
import pytest

from espnet_vivit.frontend.vivit.frame_adjust import plan_windows
from espnet_vivit.media.faces import face_stream
from espnet_vivit.media.faces.detectors.face import Face
from espnet_vivit.media.files import source
from espnet_vivit.transcription.cutting import FORCED_OVERLAP_S
from espnet_vivit.transcription.page.page import PageReader
from espnet_vivit.transcription.transcriber import Transcriber
from tests.experiments import VIVIT, write_experiment
from tests.recordings import write_recording

SECONDS, LONGEST_S = 7, 2.0
FACE = Face(np.array([[40, 30], [60, 30], [50, 42], [50, 52]], np.float32))


class FixedFace:
    """A detector that sees the same face in every picture, and counts the pictures."""

    name = "haar"

    def __init__(self, counts: Counter):
        self._counts = counts

    def detect(self, picture: np.ndarray) -> list[Face]:
        self._counts["detected"] += 1
        return [FACE]

    def reset(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def counts(monkeypatch) -> Counter:
    found, decode = Counter(), source.decode_timed

    def counted(*arguments):
        for frame in decode(*arguments):
            found["decoded"] += 1
            yield frame

    monkeypatch.setattr(source, "decode_timed", counted)
    monkeypatch.setattr(face_stream, "choose_detector", lambda name: name)
    monkeypatch.setattr(face_stream, "open_detector", lambda name: FixedFace(found))
    return found


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("once")
    return write_experiment(folder / "exp", audio_encoder=..., vision_encoder="vivit", vision_encoder_conf=VIVIT)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    pictures = np.random.default_rng(0).integers(0, 256, (SECONDS * 25, 80, 100)).astype(np.uint8)
    return write_recording(tmp_path_factory.mktemp("once") / "talk.mkv", pictures)


def count_windows(transcriber: Transcriber, counts: Counter) -> list[int]:
    """Count the frames that reach the tower; returns a list that fills with the frames of each piece."""
    encoder, recognizer = transcriber.recognizer.speech2text.asr_model.vision_encoder, transcriber.recognizer
    encode, recognize, pieces = encoder._encode, recognizer.recognize, []

    def encoded(windows, *arguments):
        counts["in the tower"] += windows.shape[0] * windows.shape[2]
        return encode(windows, *arguments)

    def recognized(cut, seconds):
        pieces.append(len(cut.stretch))
        return recognize(cut, seconds)

    encoder._encode, recognizer.recognize = encoded, recognized
    return pieces


def test_each_picture_is_decoded_looked_at_and_encoded_once(counts, experiment, recording, monkeypatch):
    options = {"search": "ctc_greedy", "min_confidence": 0.0, "longest_piece_s": LONGEST_S}
    transcriber = Transcriber(experiment, detector="haar", **options)
    monkeypatch.setattr("espnet_vivit.transcription.recognizer._judge", lambda cut, clip: Believed())
    assert transcriber.recognizer.speech2text.asr_model.vision_encoder._packed is not None, "on a CPU it can be"
    pieces = count_windows(transcriber, counts)
    transcriber.transcribe(recording)
    frames = SECONDS * 25
    assert counts["decoded"] == counts["detected"] == frames
    windows = {"num_frames": VIVIT["num_frames"], "overlap": VIVIT["window_overlap"]}
    planned = [window.frames for length in pieces for window in plan_windows(length + length % 2, **windows)]
    assert counts["in the tower"] == sum(planned)
    assert len(pieces) > 2 and frames < sum(pieces) <= frames + FORCED_OVERLAP_S * 25 * (len(pieces) - 1)
    transcriber.transcribe(recording)
    assert counts["decoded"] == counts["detected"] == 2 * frames, "the counters count"


def test_the_page_shows_the_mouth_without_looking_for_it_again(counts, experiment, recording, tmp_path):
    reader = PageReader(experiment, tmp_path, detector="haar")
    _, mouth, _, _ = reader.read(recording)
    assert mouth is not None and counts["decoded"] == counts["detected"] == SECONDS * 25


class Believed:
    """The verdict on a picture that shows a talking mouth."""

    verdict, reasons = "ok", ()
