"""How fast files become mouth clips, and how far the mouth is from given landmarks.

    python benchmarks/media.py ../shared/data/grid              every detector that works here, 40 videos
    python benchmarks/media.py FOLDER --detector haar --detect-every 3 --clips 12

FOLDER holds `original/*/*.mpg` and `landmarks/*/*.npy`. Frames per second of one core: all CPU time of this process
(decode, detect, align, crop, sound). The first clip, in which libraries are loaded, is not counted.
Errors are distances of the mouth point in pixels, before smoothing. Programs beside it make processor time longer; as
root, `chrt -f 10 taskset -c 1 python benchmarks/media.py …` has a core to itself.
"""

import argparse
import platform
import time
from pathlib import Path

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.media.faces.detectors import haar, mediapipe
from espnet_vivit.media.mouth_clip import read_mouth_clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", choices=["haar", "mediapipe"], help="left out: all that work here")
    parser.add_argument("--detect-every", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--clips", type=int, help="left out: all")
    options = parser.parse_args()
    limit_threads()
    landmarks = sorted(options.folder.glob("landmarks/*/*.npy"))[: options.clips]
    missing = {"mediapipe": mediapipe.missing(), "haar": haar.missing()}
    names = [options.detector] if options.detector else [name for name, reason in missing.items() if reason is None]
    print(f"{len(landmarks)} videos, Python {platform.python_version()}, {platform.machine()}; one core, all in\n")
    print("| detector | every | frames/s | pictures without a face | mouth error, median / p95 px | clips refused |")
    print("|---|--:|--:|--:|--:|--:|")
    for every, detector in [("–", "precomputed"), *((every, name) for name in names for every in options.detect_every)]:
        print(measured(detector, every, landmarks), flush=True)


def limit_threads() -> None:
    import cv2

    cv2.setNumThreads(1)


def measured(detector: str, every, landmarks: list[Path]) -> str:
    """One row of the table."""
    frames, lost, refused, begun, errors = 0, 0, 0, 0.0, []
    for index, path in enumerate(landmarks):
        given = np.load(path)
        video = path.parents[2] / "original" / path.parent.name / f"{path.stem}.mpg"
        how = {"landmarks": given} if detector == "precomputed" else {"detector": detector, "detect_every": every}
        try:
            clip = read_mouth_clip(video, **how)
        except MediaError:
            refused += 1
            continue
        if index == 0:
            begun = time.process_time()
        else:
            frames += len(clip.frames)
        lost += int(np.isnan(clip.landmarks).any(axis=(1, 2)).sum())
        errors.append(np.linalg.norm(clip.landmarks[:, 3] - given[: len(clip.frames), 3], axis=1))
    rate = frames / (time.process_time() - begun)
    median, p95 = np.nanpercentile(np.concatenate(errors), [50, 95])
    return f"| {detector} | {every} | {rate:.0f} | {lost} | {median:.2f} / {p95:.2f} | {refused} |"


if __name__ == "__main__":
    main()
