#!/usr/bin/env bash
# GRID: 6-word sentences of real speakers (Cooke et al. 2006). Reads a folder of mouth crops with sound, manifest.tsv and
# align.tsv (see README.md); the corpus itself is not downloaded.
#
#   ./run.sh --grid_root DIR                                             everything, with ViViT
#   ./run.sh --grid_root DIR --asr_config conf/train_avsr_resnet.yaml    with ResNet
#   ./run.sh --help                                                      all other options
# The middle --mouth_view 64 pixels of the 96-pixel crops are kept and shrunk to --mouth_size 52, of which the presets
# see 48: for machines without a GPU. With --mouth_view 96 --mouth_size 96, set image_size in the YAML.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command="./run.sh"
[ $# -eq 0 ] || command+=$(printf ' %q' "$@")

grid_root="" mouth_view=64 mouth_size=52 data_options="" others=()
while [ $# -gt 0 ]; do
    case "$1" in
        --grid_root) grid_root=${2:?--grid_root needs a folder} && shift 2 ;;
        --grid_root=*) grid_root=${1#*=} && shift ;;
        --mouth_view) mouth_view=${2:?--mouth_view needs pixels} && shift 2 ;;
        --mouth_view=*) mouth_view=${1#*=} && shift ;;
        --mouth_size) mouth_size=${2:?--mouth_size needs pixels} && shift 2 ;;
        --mouth_size=*) mouth_size=${1#*=} && shift ;;
        *) others+=("$1") && shift ;;
    esac
done
if [ -n "${grid_root}" ]; then
    [ -d "${grid_root}" ] || { echo "error: --grid_root: '${grid_root}' is not a folder." >&2 && exit 1; }
    data_options="--grid_root '$(cd "${grid_root}" && pwd)' --view ${mouth_view} --size ${mouth_size}"
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
