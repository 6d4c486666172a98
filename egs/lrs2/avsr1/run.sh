#!/usr/bin/env bash
# LRS2: sentences of BBC programmes (Chung et al. 2017), from the folders as they are distributed; see README.md. For GPUs.
#
#   ./run.sh --lrs2_root DIR --ngpu 4                                        everything, ViViT and sound
#   ./run.sh --lrs2_root DIR --asr_config base_video                         lips alone
#   ./run.sh --lrs2_root DIR --local_data_opts "--no_pretrain"                without the folder pretrain
#
#   --lrs2_root DIR          folder of LRS2 as the BBC distributes it
set -euo pipefail
unset CDPATH # with it, cd prints where it goes, and goes elsewhere
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../TEMPLATE/avsr1/data_options.sh
. "${recipe}/../../TEMPLATE/avsr1/data_options.sh"

run_prepared_corpus lrs2 "${recipe}" --token_type bpe --nbpe 5000 --asr_config ../../../conf/train_base_both.yaml -- "$@"
