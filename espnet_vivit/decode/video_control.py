"""Controls that show whether a model looks at the lips: the video blackened, or another utterance's video.

A model that reads lips must fall to the grammar's chance level under both, when it has no sound.
"""

from pathlib import Path

import numpy as np

from espnet_vivit.data.data_dir import read_scp
from espnet_vivit.errors import ConfigError
from espnet_vivit.units import SAMPLES_PER_FRAME

VIDEO_CONTROLS = ("none", "zero", "shuffle")


def write_shuffled_scp(video_scp: str | Path, out: str | Path, *, seed: int) -> dict[str, str]:
    """Write a `video.scp` in which every utterance has another one's video; return utterance -> donor.

    The utterances go round in one random circle, so no one keeps its own and each video is used once.
    """
    videos = read_scp(video_scp)
    if len(videos) < 2:
        raise ConfigError("video_control shuffle needs two utterances or more", found=f"{len(videos)} in {video_scp}")
    circle = [list(videos)[index] for index in np.random.default_rng(seed).permutation(len(videos))]
    donors = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text("".join(f"{utt_id} {videos[donors[utt_id]]}\n" for utt_id in videos), encoding="utf-8")
    return donors


def controlled_video(video: np.ndarray, speech: np.ndarray | None, control: str) -> np.ndarray:
    """The video (T, H, W) uint8 as the control wants it; with sound, a shuffled one gets the sound's length.

    It is cut, or its last frame is held.
    """
    if control == "zero":
        return np.zeros_like(video)
    if control == "shuffle" and speech is not None:
        frames = max(1, len(speech) // SAMPLES_PER_FRAME)
        return video[np.minimum(np.arange(frames), len(video) - 1)]
    return video
