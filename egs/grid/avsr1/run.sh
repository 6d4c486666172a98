#!/usr/bin/env bash
# GRID: 6-word sentences of real speakers (Cooke et al. 2006). Reads a folder of mouth crops with sound, manifest.tsv and
# align.tsv (see README.md); the corpus itself is not downloaded.
#
#   ./run.sh --grid_root DIR                                             everything, with ViViT
#   ./run.sh --grid_root DIR --asr_config conf/train_avsr_resnet.yaml    with ResNet
#   ./run.sh --help                                                      all other options
# --mouth_size 48 (default) halves the 96-pixel crops for machines without a GPU; with 96, set image_size in the YAML.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command="./run.sh"
[ $# -eq 0 ] || command+=$(printf ' %q' "$@")

grid_root="" mouth_size=48 data_options="" others=()
while [ $# -gt 0 ]; do
    case "$1" in
        --grid_root) grid_root=${2:?--grid_root needs a folder} && shift 2 ;;
        --grid_root=*) grid_root=${1#*=} && shift ;;
        --mouth_size) mouth_size=${2:?--mouth_size needs 48 or 96} && shift 2 ;;
        --mouth_size=*) mouth_size=${1#*=} && shift ;;
        *) others+=("$1") && shift ;;
    esac
done
if [ -n "${grid_root}" ]; then
    [ -d "${grid_root}" ] || { echo "error: --grid_root: '${grid_root}' is not a folder." >&2 && exit 1; }
    data_options="--grid_root '$(cd "${grid_root}" && pwd)' --size ${mouth_size}"
fi

exec "${recipe}/../../TEMPLATE/avsr1/avsr.sh" \
    --recipe_dir "${recipe}" \
    --run_command "${command}" \
    --train_set train \
    --valid_set dev \
    --test_sets "test_seen test_unseen" \
    --control_sets "test_seen" \
    --token_type word \
    --asr_config conf/train_avsr_vivit.yaml \
    --inference_config conf/decode_avsr.yaml \
    --local_data_opts "${data_options}" \
    "${others[@]}"
