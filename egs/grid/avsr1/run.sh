#!/usr/bin/env bash
# GRID: 6-word sentences of real speakers (Cooke et al. 2006). From mouth crops with manifest.tsv and align.tsv, or from
# the original videos, which are found, cropped and judged here; see README.md.
#
#   ./run.sh --grid_root DIR                                             everything, with ViViT
#   ./run.sh --grid_root DIR --grid_protocol unseen                      original videos: which speakers are the test set
#   ./run.sh --grid_root DIR --asr_config conf/train_avsr_resnet.yaml    with ResNet
#
#   --grid_root DIR           crops with manifest.tsv and align.tsv, or the original videos
#   --grid_protocol NAME      original videos: which clips are the test set, overlapped or unseen (overlapped)
#   --mouth_view PIXELS       how much of the middle of the 96-pixel crops is kept (64)
#   --mouth_size PIXELS       what that is shrunk to (52); the presets see 48 of it: for machines without a GPU
#   --babble_snr_db "DB..."   make the first test set again under babble of training sentences, at each of these ratios
# With --mouth_view 96 --mouth_size 96, set image_size in the YAML and leave mouth_view out of it.
set -euo pipefail
unset CDPATH # with it, cd prints where it goes, and goes elsewhere
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../TEMPLATE/avsr1/data_options.sh
. "${recipe}/../../TEMPLATE/avsr1/data_options.sh"

grid_root="" grid_protocol=overlapped mouth_view=64 mouth_size=52 local_data_opts="" test_sets="test" control_sets="test" babble_snr_db=""
take_options "grid_root grid_protocol mouth_view mouth_size babble_snr_db local_data_opts" "$@"
if [ -n "${grid_root}" ]; then
    grid_root=$(folder_of grid_root "${grid_root}")
    local_data_opts="--corpus_root $(quoted "${grid_root}") --protocol ${grid_protocol} --view ${mouth_view} --size ${mouth_size} ${local_data_opts}"
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
