#!/usr/bin/env bash
# The recipe driver for isolated words, called by a recipe's run.sh with its defaults and then the user's options.
set -euo pipefail
unset CDPATH # with it, cd prints where it goes, and goes elsewhere
template=$(cd "$(dirname "${BASH_SOURCE[0]}")/../avsr1" && pwd)
# shellcheck source-path=SCRIPTDIR source=../avsr1/options.sh
. "${template}/options.sh"
# shellcheck source-path=SCRIPTDIR source=../avsr1/stages.sh
. "${template}/stages.sh"

# shellcheck disable=SC2034  # stages.sh and usage read them
stage=1 stop_stage=5
recipe_dir="" datadir=data dumpdir=dump expdir=exp
train_set=train valid_set=dev test_sets=test corpus="" corpus_root="" prepare_opts="" num_frames=0
configs="" train_args="" model=valid.acc.ave.pth views=1
nj=$(nproc) num_threads=$(nproc) ngpu=0 run_command=./run.sh

recipe_head() { # what the recipe's run.sh says of itself: its first comment
    [ ! -f "${recipe_dir}/run.sh" ] || sed -n '2,${/^#/!q; s/^# \{0,1\}//p}' "${recipe_dir}/run.sh"
}

usage() {
    cat << END
Usage: run.sh [--name value | --name=value]...
Relative paths count from the recipe's folder.

$(recipe_head)

Stages: 1 data, 2 clips of words and their list, 3 train, 4 evaluate, 5 results
    --stage        first stage to run (${stage})
    --stop_stage   last stage to run (${stop_stage})
    --nj           processes for data preparation (${nj})
    --num_threads  CPU threads of training (${num_threads})
    --ngpu         GPUs for training and evaluation (${ngpu})
    --datadir      prepared data directories, word clips and the list of words (${datadir})
    --dumpdir      checked data directories, in DUMPDIR/raw (${dumpdir})
    --expdir       experiments (${expdir})
    --recipe_dir   the recipe's folder; its run.sh gives it
    --run_command  how the run was started, for RESULTS.md; its run.sh gives it
    --corpus       name of the corpus for espnet-vivit prepare (${corpus})
    --corpus_root  folder of the corpus
    --prepare_opts more options for espnet-vivit prepare (${prepare_opts})
    --num_frames   frames of a word cut from sentences; 0: the clips are words already (${num_frames})
    --train_set    training set (${train_set})
    --valid_set    validation set (${valid_set})
    --test_sets    test sets, in one pair of quotes (${test_sets})
    --configs      training YAMLs, in one pair of quotes; all others are compared with the first (${configs})
    --train_args   more options for words_train, for example "--max_epoch 5"
    --model        checkpoint to evaluate (${model})
    --views        crops of a clip to average over, 1 or 3 (${views})
END
}

parse_options "$@"
for required in recipe_dir corpus configs; do
    [ -n "${!required}" ] || fail "--${required} is missing. Start a recipe's run.sh, which gives it."
done
cd "${recipe_dir}"
[ -t 1 ] || export TQDM_MININTERVAL=15 # seconds between two states of a progress bar that goes into a file
# shellcheck source-path=SCRIPTDIR source=../avsr1/path.sh
. ./path.sh
# shellcheck source-path=SCRIPTDIR source=../avsr1/cmd.sh
. ./cmd.sh
read -ra sets <<< "${train_set} ${valid_set} ${test_sets}"
read -ra held_out <<< "${valid_set} ${test_sets}"
read -ra yamls <<< "${configs}"
read -ra tests <<< "${test_sets}"
tokens="${datadir}/token_list/word/tokens.txt"

in_stages() { [ "${stage}" -le "$1" ] && [ "${stop_stage}" -ge "$1" ] && echo "[stage $1] $2"; }
experiment_of() { echo "${expdir}/words_$(basename "$1" .yaml)$(tag_of_args "${train_args}")"; }

if in_stages 1 "data: ${datadir}"; then
    [ -n "${corpus_root}" ] || fail "where is the corpus? Give --corpus_root DIR."
    split_words "${prepare_opts}"
    "${PYTHON}" -m espnet_vivit.bin.cli prepare "${corpus}" "${corpus_root}" "${datadir}" --nj "${nj}" "${words[@]}"
fi
if in_stages 2 "words: ${dumpdir}/raw, ${tokens}"; then
    for name in "${sets[@]}"; do
        source="${datadir}/${name}"
        if [ "${num_frames}" -gt 0 ]; then
            source="${datadir}/words/${name}"
            "${PYTHON}" -m espnet_vivit.bin.words_cut --data "${datadir}/${name}" --out "${source}" --num_frames "${num_frames}"
        fi
        "${PYTHON}" -m espnet_vivit.bin.avsr_format --data "${source}" --out "${dumpdir}/raw/${name}" --nj "${nj}"
    done
    "${PYTHON}" -m espnet_vivit.bin.avsr_format --out "${dumpdir}/raw/${train_set}" --held_out "${held_out[@]/#/${dumpdir}/raw/}"
    "${PYTHON}" -m espnet_vivit.bin.avsr_tokens --text "${dumpdir}/raw/${train_set}/text" --out "$(dirname "${tokens}")" \
        --token_type word
fi
split_words "${train_args}"
for config in "${yamls[@]}"; do
    exp=$(experiment_of "${config}")
    if in_stages 3 "train: ${exp} with ${config}"; then
        data=()
        for pair in "train ${train_set}" "valid ${valid_set}"; do
            raw="${dumpdir}/raw/${pair#* }"
            data+=("--${pair% *}_shape_file" "${raw}/video_shape")
            data+=("--${pair% *}_data_path_and_name_and_type" "${raw}/video.scp,video,video")
            data+=("--${pair% *}_data_path_and_name_and_type" "${raw}/text,text,text")
        done
        mkdir -p "${exp}"
        # shellcheck disable=SC2086  # train_cmd is a list of words
        OMP_NUM_THREADS=${num_threads} ${train_cmd} "${PYTHON}" -m espnet_vivit.bin.words_train --config "${config}" \
            --output_dir "${exp}" --resume true --ngpu "${ngpu}" --token_list "${tokens}" "${data[@]}" "${words[@]}" \
            2>&1 | tee -a "${exp}/train.log" | "${PYTHON}" -m espnet_vivit.bin.avsr_progress ||
            fail "training failed. Last lines of ${exp}/train.log:"$'\n'"$(tail -n 12 "${exp}/train.log")"
    fi
    for name in "${tests[@]}"; do
        if in_stages 4 "evaluate: ${exp}/evaluated/${name}"; then
            "${PYTHON}" -m espnet_vivit.bin.words_evaluate --model_file "${exp}/${model}" --data "${dumpdir}/raw/${name}" \
                --out "${exp}/evaluated/${name}" --views "${views}" --ngpu "$((ngpu > 0))"
        fi
    done
done
if in_stages 5 "results: ${expdir}/RESULTS.md"; then
    experiments=()
    for config in "${yamls[@]}"; do experiments+=("$(experiment_of "${config}")"); done
    "${PYTHON}" -m espnet_vivit.bin.words_results --exp "${experiments[@]}" --data "${dumpdir}/raw" \
        --out "${expdir}/RESULTS.md" --command "${run_command}"
fi
