#!/usr/bin/env bash
# Your own videos, in any language: a transcript beside each, or one table; see README.md.
#
#   ./run.sh --folder_root my_videos                                                 everything, with a small model
#   ./run.sh --folder_root my_videos --token_type bpe --nbpe 500                     pieces of words instead of letters
#   ./run.sh --folder_root my_videos --asr_config ../../../conf/train_base_both.yaml    a larger model, for a GPU
#   ./run.sh --help                                                                  all other options
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../TEMPLATE/avsr1/data_options.sh
. "${recipe}/../../TEMPLATE/avsr1/data_options.sh"

folder_root="" local_data_opts=""
take_options "folder_root local_data_opts" "$@"
if [ -n "${folder_root}" ]; then
    folder_root=$(folder_of folder_root "${folder_root}")
    local_data_opts="--corpus_root '${folder_root}' ${local_data_opts}"
fi

exec "${recipe}/../../TEMPLATE/avsr1/avsr.sh" \
    --recipe_dir "${recipe}" \
    --run_command "$(command_line "$@")" \
    --train_set train \
    --valid_set dev \
    --test_sets "test" \
    --control_sets "test" \
    --token_type char \
    --asr_config ../../../conf/train_tiny_both.yaml \
    --inference_config ../../../conf/decode_avsr.yaml \
    --local_data_opts "${local_data_opts}" \
    "${others[@]}"
