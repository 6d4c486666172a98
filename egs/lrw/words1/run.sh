#!/usr/bin/env bash
# LRW: 500 isolated words of the BBC's programmes (Chung and Zisserman 2016), from the folder as distributed. For GPUs.
#
#   ./run.sh --corpus_root DIR --ngpu 1                                        ViViT and ResNet-18
#   ./run.sh --corpus_root DIR --ngpu 1 --configs conf/vivit.yaml --views 3    one of them, three crops at the end
#
# DIR holds lipread_mp4/<WORD>/{train,val,test}.
set -euo pipefail
unset CDPATH # with it, cd prints where it goes, and goes elsewhere
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../TEMPLATE/avsr1/data_options.sh
. "${recipe}/../../TEMPLATE/avsr1/data_options.sh"

corpus_root=""
take_options "corpus_root" "$@"
[ -z "${corpus_root}" ] || others+=(--corpus_root "$(folder_of corpus_root "${corpus_root}")")
exec "${recipe}/../../TEMPLATE/words1/words.sh" --recipe_dir "${recipe}" --run_command "$(command_line "$@")" \
    --corpus lrw --prepare_opts "--modality video" --configs "conf/vivit.yaml conf/resnet.yaml" "${others[@]}"
