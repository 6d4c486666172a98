#!/usr/bin/env bash
# GRID: 6-word sentences of real speakers (Cooke et al. 2006). From mouth crops with manifest.tsv and align.tsv, or from
# the original videos, which are found, cropped and judged here; see README.md.
#
#   ./run.sh --grid_root DIR                                             everything, with ViViT
#   ./run.sh --grid_root DIR --grid_protocol unseen                      original videos: which speakers are the test set
#   ./run.sh --grid_root DIR --asr_config conf/train_avsr_resnet.yaml    with ResNet
#   ./run.sh --help                                                      all other options
# The middle --mouth_view 64 pixels of the 96-pixel crops are kept and shrunk to --mouth_size 52, of which the presets
# see 48: for machines without a GPU. With --mouth_view 96 --mouth_size 96, set image_size in the YAML.
# --babble_snr_db "10 5 0 -5" makes further test sets: the first one under babble of training sentences at each ratio.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../TEMPLATE/avsr1/data_options.sh
. "${recipe}/../../TEMPLATE/avsr1/data_options.sh"

grid_root="" grid_protocol=overlapped mouth_view=64 mouth_size=52 local_data_opts="" test_sets="test" control_sets="test" babble_snr_db=""
take_options "grid_root grid_protocol mouth_view mouth_size babble_snr_db local_data_opts" "$@"
if [ -n "${grid_root}" ]; then
    grid_root=$(folder_of grid_root "${grid_root}")
    local_data_opts="--corpus_root '${grid_root}' --protocol ${grid_protocol} --view ${mouth_view} --size ${mouth_size} ${local_data_opts}"
fi
if [ -z "${grid_root}" ] || [ -f "${grid_root}/manifest.tsv" ]; then # crops, whose manifest says the sets
    test_sets="test_seen test_unseen" control_sets="test_seen"
fi
for snr_db in ${babble_snr_db}; do
    test_sets+=" ${control_sets}_babble_${snr_db}db"
done
local_data_opts+=" --babble_set ${control_sets} --babble_snr_db '${babble_snr_db}'"

exec "${recipe}/../../TEMPLATE/avsr1/avsr.sh" \
    --recipe_dir "${recipe}" \
    --run_command "$(command_line "$@")" \
    --train_set train \
    --valid_set dev \
    --test_sets "${test_sets}" \
    --control_sets "${control_sets}" \
    --token_type word \
    --asr_config conf/train_avsr_vivit.yaml \
    --inference_config conf/decode_avsr.yaml \
    --local_data_opts "${local_data_opts}" \
    "${others[@]}"
