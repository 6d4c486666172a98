"""PICTURE → FACES: one interface over several detectors, and the choice among them.

    with closing(open_detector("auto")) as detector:       # the best that works here; detector.name says which
        faces = detector.detect(picture)          # [Face(points, box, opening), …] of an RGB picture

| name | finds | needs |
|---|---|---|
| mediapipe | 478 points, lips included | MediaPipe (extra `faces`) and its model file (`espnet-vivit face-model`) |
| haar | face boxes; the points by proportion | OpenCV < 5, whose wheel holds the cascades (extra `media`) |
| precomputed | nothing: landmarks are given | – |
| centre | nothing: the clip shows a mouth already | – |
"""

from __future__ import annotations

from espnet_vivit.errors import MissingDependencyError, unknown_name
from espnet_vivit.media.faces.detectors.face import Detector

DETECTORS = {
    "auto": "the best that works here: mediapipe, else haar; centre for square pictures of up to 128 pixels",
    "mediapipe": "MediaPipe's face mesh",
    "haar": "OpenCV's cascades",
    "precomputed": "landmarks that are given",
    "centre": "none: the clip shows a mouth already",
}


def choose_detector(name: str) -> str:
    """The name, if it can be had here; for "auto", the best one. Raises ConfigError and MissingDependencyError."""
    from espnet_vivit.media.faces.detectors import haar, mediapipe

    if name not in DETECTORS and not name.endswith(".task"):
        raise unknown_name("detector", name, DETECTORS)
    if name == "auto":
        reasons = {"mediapipe": mediapipe.missing(), "haar": haar.missing()}
        for candidate, reason in reasons.items():
            if reason is None:
                return candidate
        found = "; ".join(map(str, reasons.values()))
        fix = f"For MediaPipe: {mediapipe.how_to_install()}"
        raise MissingDependencyError("no face detector works here", found=found, fix=fix)
    reason = fix = None
    if name == "mediapipe" or name.endswith(".task"):
        reason, fix = mediapipe.missing(name), mediapipe.how_to_install()
    elif name == "haar":
        reason = haar.missing()
    if reason is not None:
        raise MissingDependencyError(f"detector {name} does not work here ({reason})", fix=fix)
    return name


def open_detector(name: str) -> Detector:
    """A detector for one clip, to be closed. Not for `precomputed` and `centre`, which look at no picture."""
    from espnet_vivit.media.faces.detectors.haar import HaarDetector
    from espnet_vivit.media.faces.detectors.mediapipe import MediapipeDetector

    name = choose_detector(name)
    return HaarDetector() if name == "haar" else MediapipeDetector(name)
