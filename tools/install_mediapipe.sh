#!/bin/sh
# Puts MediaPipe 0.10.21, the last one with models in its wheel, where espnet_vivit's detector "mediapipe" finds it:
# into the folder `mediapipe` of a Python environment, out of sight of everything else that is installed there.
#
#   tools/install_mediapipe.sh                        into .venv/mediapipe; nothing if it works there already
#   PYTHON=/path/to/python tools/install_mediapipe.sh            into the environment of that Python
#
# Its dependencies are not taken as it states them: it asks for numpy < 2 and jax, and works with numpy 2 and without
# jax. protobuf < 5 it really needs, so it gets one of its own; the detector runs it in a process of its own.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
python=${PYTHON:-.venv/bin/python}

say() { printf 'faces: %s\n' "$*"; }
fail() { printf 'faces: %s\n' "$*" >&2; exit 1; }

"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' ||
    fail "$python is no Python 3.10, 3.11 or 3.12, for which MediaPipe 0.10.21 has wheels"
folder=$("$python" -c 'import sys; print(sys.prefix)')/mediapipe

# Finds no face in a gray picture, by way of the whole detector, or says what is wrong.
works() {
    ESPNET_VIVIT_MEDIAPIPE=$1 "$python" -c '
import numpy
from espnet_vivit.media.faces.detectors import open_detector
detector = open_detector("mediapipe")
assert detector.detect(numpy.full((64, 64, 3), 128, numpy.uint8)) == []
detector.close()'
}

if [ -d "$folder" ] && works "$folder" 2>/dev/null; then
    say "MediaPipe works in $folder"
    exit 0
fi
say "installing MediaPipe 0.10.21 into $folder"
rm -rf "$folder.part"
packages=$("$python" -c 'from espnet_vivit.media.faces.detectors.mediapipe import PACKAGES; print(*PACKAGES)')
# shellcheck disable=SC2086  # a list of words
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder.part" $packages ||
    fail "pip could not install it (see above)"
works "$folder.part" || fail "it is installed in $folder.part, but does not work (see above)"
rm -rf "$folder"
mv "$folder.part" "$folder"
say "done: espnet-vivit's detector \"auto\" now takes MediaPipe"
