#!/usr/bin/env bash
# mini_av: a synthetic audio-visual corpus, rendered on the spot; no download. From nothing to a table of word error
# rates for video, audio and both in under half an hour on two cores.
#
#   ./run.sh                                                             everything, with ViViT
#   ./run.sh --stage 10 --asr_config conf/train_avsr_resnet.yaml         the same data, with ResNet
set -euo pipefail
unset CDPATH # with it, cd prints where it goes, and goes elsewhere
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../TEMPLATE/avsr1/data_options.sh
. "${recipe}/../../TEMPLATE/avsr1/data_options.sh"

exec "${recipe}/../../TEMPLATE/avsr1/avsr.sh" \
    --recipe_dir "${recipe}" \
    --run_command "$(command_line "$@")" \
    --train_set train \
    --valid_set dev \
    --test_sets "test_seen test_unseen test_seen_babble_0db test_unseen_babble_0db" \
    --control_sets "test_seen" \
    --token_type word \
    --asr_config conf/train_avsr_vivit.yaml \
    --inference_config conf/decode_avsr.yaml \
    --targets "test_seen:video:30 test_seen:audio:5" \
    --score_opts "--corpus mini_av" \
    "$@"
