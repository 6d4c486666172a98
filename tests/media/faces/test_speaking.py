"""Of two real people side by side, of whom one speaks and one listens, the speaker is followed."""

import numpy as np
import pytest

from espnet_vivit.media.faces.detectors import haar
from espnet_vivit.media.files.source import open_source, read_speech
from espnet_vivit.media.mouth_clip import read_mouth_clip
from tests.media.videos import write_video


@pytest.fixture(scope="module")
def two_people(shared_dir, tmp_path_factory):
    """Makes a video of s31 and s20 in which `speaker` speaks, with sound or without, and the other one listens."""
    originals = [next((shared_dir / "data/grid/original").glob(pattern)) for pattern in ("s31/*", "s20/*")]

    def make(speaker: int, *, sound: bool):
        sides = []
        for index, path in enumerate(originals):
            with open_source(path) as source:
                pictures = np.stack(list(source.frames()))
            listening = np.abs(np.arange(75) % 16 - 8)  # the silent first third of a second, to and fro
            sides.append(pictures[:75] if index == speaker else pictures[listening])
        path = tmp_path_factory.mktemp("two") / "two.mkv"
        speech = read_speech(originals[speaker]) if sound else None
        return write_video(path, np.concatenate(sides, axis=2), speech=speech, options={"preset": "ultrafast"})

    return make


@pytest.mark.slow
@pytest.mark.parametrize("speaker", [0, 1])
@pytest.mark.parametrize("detector", ["haar", "mediapipe"])
def test_the_one_whose_mouth_moves_with_the_sound_is_followed(two_people, speaker, detector):
    from espnet_vivit.media.faces.detectors import mediapipe

    reason = {"haar": haar, "mediapipe": mediapipe}[detector].missing()
    if reason is not None:
        pytest.skip(reason)
    clip = read_mouth_clip(two_people(speaker, sound=True), detector=detector, end_s=1.0)
    assert np.median(clip.num_faces) == 2
    assert (clip.landmarks[:, :, 0].mean(axis=1) // 360 == speaker).all()


@pytest.mark.slow
@pytest.mark.parametrize(("face", "side"), [("left", 0), ("right", 1)])
def test_without_sound_the_option_decides(two_people, face, side):
    if haar.missing():
        pytest.skip(haar.missing())
    clip = read_mouth_clip(two_people(0, sound=False), detector="haar", face=face, end_s=0.4)
    assert (clip.landmarks[:, :, 0].mean(axis=1) // 360 == side).all()
