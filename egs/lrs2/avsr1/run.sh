#!/usr/bin/env bash
# LRS2: sentences of BBC programmes (Chung et al. 2017), from the folders as they are distributed; see README.md. For GPUs.
#
#   ./run.sh --lrs2_root DIR --ngpu 4                                        everything, ViViT and sound
#   ./run.sh --lrs2_root DIR --asr_config ../../../conf/train_base_video.yaml   lips alone
#   ./run.sh --lrs2_root DIR --local_data_opts "--no_pretrain"                without the folder pretrain
#   ./run.sh --help                                                           all other options
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../TEMPLATE/avsr1/data_options.sh
. "${recipe}/../../TEMPLATE/avsr1/data_options.sh"

lrs2_root="" local_data_opts=""
take_options "lrs2_root local_data_opts" "$@"
if [ -n "${lrs2_root}" ]; then
    lrs2_root=$(folder_of lrs2_root "${lrs2_root}")
    local_data_opts="--corpus_root '${lrs2_root}' ${local_data_opts}"
fi

exec "${recipe}/../../TEMPLATE/avsr1/avsr.sh" \
    --recipe_dir "${recipe}" \
    --run_command "$(command_line "$@")" \
    --train_set train \
    --valid_set dev \
    --test_sets "test" \
    --control_sets "test" \
    --token_type bpe \
    --nbpe 5000 \
    --asr_config ../../../conf/train_base_both.yaml \
    --inference_config ../../../conf/decode_avsr.yaml \
    --local_data_opts "${local_data_opts}" \
    "${others[@]}"
