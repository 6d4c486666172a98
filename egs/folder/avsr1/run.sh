#!/usr/bin/env bash
# Your own videos, in any language: a transcript beside each, or one table; see README.md.
#
#   ./run.sh --folder_root my_videos                                                 everything, with a small model
#   ./run.sh --folder_root my_videos --token_type bpe --nbpe 500                     pieces of words instead of letters
#   ./run.sh --folder_root my_videos --asr_config base_both                          a larger model, for a GPU
#
#   --folder_root DIR          folder of the videos
set -euo pipefail
unset CDPATH # with it, cd prints where it goes, and goes elsewhere
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../TEMPLATE/avsr1/data_options.sh
. "${recipe}/../../TEMPLATE/avsr1/data_options.sh"

run_prepared_corpus folder "${recipe}" --token_type char --asr_config ../../../conf/train_tiny_both.yaml -- "$@"
