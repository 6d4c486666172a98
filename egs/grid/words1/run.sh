#!/usr/bin/env bash
# GRID's 51 words, each in a clip of its own, cut by the corpus's word times; see README.md.
#
#   ./run.sh --corpus_root DIR                                      ViViT, ResNet-18 and linear patches
#   ./run.sh --corpus_root DIR --configs conf/vivit.yaml            one of them
#
# DIR holds mouth crops with manifest.tsv and align.tsv, or the original videos, as for ../avsr1.
set -euo pipefail
unset CDPATH # with it, cd prints where it goes, and goes elsewhere
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../TEMPLATE/avsr1/data_options.sh
. "${recipe}/../../TEMPLATE/avsr1/data_options.sh"

corpus_root=""
take_options "corpus_root" "$@"
[ -z "${corpus_root}" ] || others+=(--corpus_root "$(folder_of corpus_root "${corpus_root}")")
test_sets="test"
if [ -z "${corpus_root}" ] || [ -f "${corpus_root}/manifest.tsv" ]; then # crops, whose manifest says the sets
    test_sets="test_seen" # those of test_unseen have no word times
fi
exec "${recipe}/../../TEMPLATE/words1/words.sh" --recipe_dir "${recipe}" --run_command "$(command_line "$@")" \
    --corpus grid --prepare_opts "--view 64 --size 52" --num_frames 17 --test_sets "${test_sets}" \
    --configs "conf/vivit.yaml conf/resnet.yaml conf/linear.yaml" "${others[@]}"
