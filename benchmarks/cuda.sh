#!/usr/bin/env bash
# What a GPU gives: forward pass, search, transcribing (cuda.py), then training steps with MFU and the memory of LoRA
# and QLoRA (training.py). At most eight minutes on an H200.
#     benchmarks/cuda.sh                      on the first GPU, at full size
#     benchmarks/cuda.sh cpu                  the same in small on the CPU, to see that it works
#     WHEELS=folder benchmarks/cuda.sh        on a machine without a network: packages from the wheels in that folder
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
device=${1:-cuda}
python=${PYTHON:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
if [ -n "${WHEELS:-}" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
    PYTHONPATH=$PYTHONPATH:$site
fi
peak=()
training=(--batch 1 32 --steps 1 --towers vivit --ways full qlora --size reduced)
forward=(--small --rounds 1 --no-compile)
if [ "$device" != cpu ]; then
    training=(--steps 3)
    forward=(--rounds 10)
    if nvidia-smi --query-gpu=name --format=csv,noheader | grep -Eq 'H100|H200'; then  # dense rates of the data sheet
        forward+=(--peak_tflops '{"float32": 67, "bfloat16": 989}')
        peak=(--peak_tflops '{"fp32": 67, "bf16": 989}')
    fi
fi
"$python" benchmarks/cuda.py --device "$device" "${forward[@]}"
echo
"$python" benchmarks/training.py --device "$device" "${training[@]}" "${peak[@]}"
