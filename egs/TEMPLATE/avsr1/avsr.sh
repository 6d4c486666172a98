#!/usr/bin/env bash
# The recipe driver that all corpora share: ESPnet's stage numbers and option names, one log per stage.
# A recipe's run.sh calls it with its own defaults and then with the user's options; see --help.
set -euo pipefail
unset CDPATH # with it, cd prints where it goes, and goes elsewhere

template=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=options.sh
. "${template}/options.sh"
# shellcheck source-path=SCRIPTDIR source=stages.sh
. "${template}/stages.sh"

stage=1 stop_stage=15
skip_data_prep=false skip_train=false skip_eval=false
ngpu=0
nj=$(nproc) inference_nj=0 num_threads=$(nproc)
recipe_dir="" datadir=data dumpdir=dump expdir=exp
train_set="" valid_set="" test_sets="" local_data_opts=""
min_wav_duration=0.1 max_wav_duration=20.0
token_type=word nbpe=500 bpe_mode=unigram
use_lm=false lm_config="" lm_tag="" lm_args="" use_ngram=false ngram_num=3
asr_config="" asr_args="" asr_tag="" asr_stats_dir="" resume_changed=false
inference_config="" inference_args="" inference_tag="" inference_asr_model=valid.acc.ave.pth inference_lm=valid.loss.ave.pth
modalities="" control_sets="" score_opts="" targets="" skip_packing=false pack_card=conf/card.yaml run_command=./run.sh

recipe_head() { # what the recipe's run.sh says of itself: its first comment
    [ ! -f "${recipe_dir}/run.sh" ] || sed -n '2,${/^#/!q; s/^# \{0,1\}//p}' "${recipe_dir}/run.sh"
}

usage() {
    cat << END
Usage: run.sh [--name value | --name=value]...
Relative paths count from the recipe's folder.

$(recipe_head)

Stages: 1 data, 2 speed perturbation (off), 3 format, 4 length filter, 5 tokens, 6-8 language model (--use_lm true),
9 n-gram model (--use_ngram true), 10 shapes, 11 train, 12 decode, 13 score, 14 pack, 15 upload (off)
    --stage                first stage to run (${stage})
    --stop_stage           last stage to run (${stop_stage})
    --skip_data_prep       leave out stages 1-5 (${skip_data_prep})
    --skip_train           leave out stages 6-11 (${skip_train})
    --skip_eval            leave out stages 12-13 (${skip_eval})
    --skip_packing         leave out stage 14 (${skip_packing})
Machine
    --ngpu                 GPUs for training and decoding, the first of CUDA_VISIBLE_DEVICES; 0: CPU (${ngpu})
    --nj                   processes for data preparation (${nj})
    --inference_nj         processes for decoding, GPUs in turn; 0: one for each GPU, or without one for each core (${inference_nj})
    --num_threads          CPU threads of training (${num_threads})
Folders
    --datadir              Kaldi data directories and token lists (${datadir})
    --dumpdir              checked and filtered data directories, in DUMPDIR/raw (${dumpdir})
    --expdir               experiments and logs (${expdir})
    --recipe_dir           the recipe's folder; its run.sh gives it
    --run_command          how the run was started, for RESULTS.md; its run.sh gives it
Data
    --train_set            training set (${train_set})
    --valid_set            validation set (${valid_set})
    --test_sets            test sets, in one pair of quotes (${test_sets})
    --local_data_opts      options for the recipe's local/data.sh (${local_data_opts})
    --min_wav_duration     shortest clip to train on, seconds (${min_wav_duration})
    --max_wav_duration     longest clip to train on, seconds (${max_wav_duration})
Tokens
    --token_type           char, word or bpe (${token_type})
    --nbpe                 number of sentencepiece pieces (${nbpe})
    --bpe_mode             unigram or bpe (${bpe_mode})
Language model
    --use_lm               train one on the training transcripts and decode with it (${use_lm})
    --lm_config            its YAML (${lm_config})
    --lm_tag               its experiment's name (from lm_config)
    --lm_args              more options for espnet2.bin.lm_train
    --inference_lm         its checkpoint (${inference_lm})
    --use_ngram            count the n-grams of the training transcripts and decode with them (${use_ngram})
    --ngram_num            the longest n-gram (${ngram_num}); weights: --inference_args "--lm_weight 0.3 --ngram_weight 0.3"
Model
    --asr_config           training YAML, or a preset such as tiny_both (${asr_config})
    --asr_args             more options for avsr_train, for example "--max_epoch 5"
    --asr_tag              the experiment is EXPDIR/avsr_TAG (from asr_config, token type and asr_args)
    --asr_stats_dir        shapes of the utterances (EXPDIR/avsr_stats_<token type>, and _tubelet at that feature_rate)
    --resume_changed       continue an experiment although its YAML or data have changed (${resume_changed})
Decoding
    --inference_config     decoding YAML (${inference_config})
    --inference_args       more options for avsr_inference, for example "--beam_size 10"
    --inference_tag        results are in EXPDIR/avsr_TAG/decode_TAG (from inference_config and checkpoint)
    --inference_asr_model  checkpoint to decode with (${inference_asr_model})
    --modalities           streams to decode with: video audio multimodal (all that the model serves)
    --control_sets         test sets decoded also with blank and with exchanged videos (${control_sets})
    --targets              word error rates to reach, TEST_SET:MODALITY:PERCENT; those decoded are checked (${targets})
    --score_opts           more options for espnet_vivit.evaluation.results (${score_opts})
Packing
    --pack_card            YAML with licence, data and limits for the package's model card (${pack_card})
END
}

parse_options "$@"
[ "${stage}" -le "${stop_stage}" ] || fail "--stage ${stage} is after --stop_stage ${stop_stage}: nothing would run."
[ "${inference_nj}" -ne 0 ] || inference_nj=$([ "${ngpu}" -gt 0 ] && echo "${ngpu}" || nproc)
for required in recipe_dir train_set valid_set asr_config; do
    [ -n "${!required}" ] || fail "--${required} is missing. Start a recipe's run.sh, which gives it."
done
cd "${recipe_dir}"
[ -t 1 ] || export TQDM_MININTERVAL=15 # seconds between two states of a progress bar that goes into a file
# shellcheck source-path=SCRIPTDIR source=path.sh
. ./path.sh
# shellcheck source-path=SCRIPTDIR source=cmd.sh
. ./cmd.sh
command -v "${PYTHON}" > /dev/null ||
    fail "no Python at '${PYTHON}'. Set PYTHON to one with espnet-vivit${repository:+, or run 'make install' in ${repository}}."
if ! "${skip_train}" && [ "${stage}" -le 11 ] && [ "${stop_stage}" -ge 6 ]; then
    for file in "conf/train_${asr_config}.yaml" "../../../conf/train_${asr_config}.yaml"; do # a preset's name
        [ -f "${asr_config}" ] || [ ! -f "${file}" ] || asr_config=${file}
    done
    [ -f "${asr_config}" ] || fail "--asr_config: no file ${asr_config} (relative names count from ${PWD}), and no preset."
fi
if ! "${skip_eval}" && [ "${stage}" -le 12 ] && [ "${stop_stage}" -ge 12 ] && [ -n "${inference_config}" ]; then
    [ -f "${inference_config}" ] || fail "--inference_config: no file ${inference_config} (relative names count from ${PWD})."
fi
name_folders

log_header() {
    printf '# %s stage %s of %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$1" "${recipe_dir}"
}

# run_stage NUMBER TITLE LOG FUNCTION [FILTER]: FILTER turns the stage's output into what the terminal shows.
run_stage() {
    local number=$1 title=$2 log=$3 function=$4 filter=${5:-cat} begun=${SECONDS} before=0 status
    [ "${stage}" -le "${number}" ] && [ "${stop_stage}" -ge "${number}" ] || return 0
    echo "[stage ${number}] ${title} (log: ${log})"
    mkdir -p "$(dirname "${log}")"
    [ ! -f "${log}" ] || before=$(wc -l < "${log}") # earlier runs' lines stay in the log and out of the messages
    log_header "${number}" >> "${log}"
    set +e # the status is looked at below; inside the parentheses an error still ends the stage
    (set -euo pipefail; "${function}") 2>&1 < /dev/null | tee -a "${log}" | { "${filter}" || cat > /dev/null; }
    status=${PIPESTATUS[0]}
    set -e
    if [ "${status}" -ne 0 ]; then
        echo "[stage ${number}] FAILED with status ${status}. Last lines of ${log}:" >&2
        tail -n +$((before + 2)) "${log}" | tr '\r' '\n' | tail -n 20 | sed 's/^/    /' >&2 # \r: progress bars
        echo "[stage ${number}] FAILED; the whole log: $(realpath "${log}")" >&2
        exit "${status}"
    fi
    echo "[stage ${number}] done in $((SECONDS - begun)) s"
}

skip_stage() {
    local number=$1 reason=$2
    [ "${stage}" -le "${number}" ] && [ "${stop_stage}" -ge "${number}" ] || return 0
    echo "[stage ${number}] skipped: ${reason}"
}

last_line() { tail -n 1; }
training_progress() { "${PYTHON}" -m espnet_vivit.bin.avsr_progress; }

if "${skip_data_prep}"; then
    skip_stage 1 "--skip_data_prep true (stages 1-5)"
else
    run_stage 1 "data: ${datadir}/{${train_set},${valid_set}${test_sets:+,${test_sets// /,}}}" "${logdir}/1_data.log" stage_data
    skip_stage 2 "speed perturbation would pull sound and lips apart"
    run_stage 3 "format: check every clip, write ${dumpdir}/raw" "${logdir}/3_format.log" stage_format
    run_stage 4 "length filter: ${min_wav_duration}-${max_wav_duration} s" "${logdir}/4_filter.log" stage_filter
    run_stage 5 "tokens: ${token_type} list from the training transcripts" "${logdir}/5_tokens.log" stage_tokens
fi

if "${skip_train}"; then
    skip_stage 11 "--skip_train true (stages 6-11)"
else
    if "${use_lm}"; then
        run_stage 6 "language model: shapes of the transcripts" "${logdir}/6_lm_shapes.log" stage_lm_shapes
        run_stage 7 "language model: training with ${lm_config}" "${lm_exp}/train.log" stage_lm_train training_progress
        run_stage 8 "language model: perplexity of ${valid_set}" "${lm_exp}/perplexity.log" stage_lm_perplexity last_line
    else
        skip_stage 6 "no language model (--use_lm true trains one; stages 6-8)"
    fi
    if "${use_ngram}"; then
        run_stage 9 "n-gram model: ${ngram_file}" "$(dirname "${ngram_file}")/ngram.log" stage_ngram
    else
        skip_stage 9 "no n-gram language model (--use_ngram true makes one)"
    fi
    run_stage 10 "shapes: length of every utterance, and whether CTC can align it" "${logdir}/10_shapes.log" stage_shapes
    run_stage 11 "train: ${asr_exp} with ${asr_config}" "${asr_exp}/train.log" stage_train training_progress
fi

if "${skip_eval}"; then
    skip_stage 12 "--skip_eval true (stages 12-13)"
elif [ -z "${test_sets}" ]; then
    skip_stage 12 "no --test_sets (stages 12-13)"
else
    run_stage 12 "decode: ${test_sets} into ${decode_dir}" "${asr_exp}/decode.log" stage_decode
    run_stage 13 "score: WER table in ${asr_exp}/RESULTS.md" "${asr_exp}/score.log" stage_score
fi

if "${skip_packing}"; then
    skip_stage 14 "--skip_packing true"
else
    run_stage 14 "pack: the model in one file, ${asr_exp}/${asr_tag}.zip" "${asr_exp}/pack.log" stage_pack
fi
skip_stage 15 "nothing is uploaded; share ${asr_exp}/${asr_tag}.zip yourself"
