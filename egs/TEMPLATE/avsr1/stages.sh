# Sourced by avsr.sh, not run: what each stage does. Every function runs in the recipe's folder, reads the variables that
# avsr.sh's options set, and calls tested Python; its output goes to the stage's log.
# shellcheck shell=bash disable=SC2154,SC2034

# Fill the names of folders and files that follow from the options.
name_folders() {
    local token_dir=${token_type}
    [ "${token_type}" = bpe ] && token_dir="bpe_${bpe_mode}${nbpe}"
    token_list="${datadir}/token_list/${token_dir}/tokens.txt"
    bpemodel="" bpe_option=()
    if [ "${token_type}" = bpe ]; then
        bpemodel="${datadir}/token_list/${token_dir}/bpe.model"
        bpe_option=(--bpemodel "${bpemodel}")
    fi

    asr_tag=${asr_tag:-$(basename "${asr_config}" .yaml)_${token_dir}$(tag_of_args "${asr_args}")}
    stats_of_frames="${expdir}/avsr_stats_${token_dir}"
    asr_exp="${expdir}/avsr_${asr_tag}"
    lm_tag=${lm_tag:-$(basename "${lm_config:-none}" .yaml)_${token_dir}$(tag_of_args "${lm_args}")}
    lm_exp="${expdir}/lm_${lm_tag}"
    lm_stats_dir="${expdir}/lm_stats_${token_dir}"
    ngram_file="${expdir}/ngram_${token_dir}/${ngram_num}gram.arpa"
    if [ -z "${inference_tag}" ]; then
        inference_tag=$(basename "${inference_config:-default}" .yaml)$(tag_of_args "${inference_args}")
        inference_tag="${inference_tag#decode_}_asr_model_${inference_asr_model%.pth}"
        if "${use_lm}"; then inference_tag+="_lm_${lm_tag}_${inference_lm%.pth}"; fi
        if "${use_ngram}"; then inference_tag+="_ngram_${ngram_num}gram"; fi
    fi
    decode_dir="${asr_exp}/decode_${inference_tag}"
    logdir="${expdir}/logs"
}

# "--max_epoch 5 --seed 1" -> "_max_epoch5_seed1", as ESPnet names its experiments
tag_of_args() {
    echo "$1" | sed -e 's/ *--/_/g' -e 's/[ |=/"'"'"']//g'
}

# Split a string of options into the array `words`, honouring quotes: split_words '--a "b c"'
split_words() {
    local lines
    words=()
    lines=$(xargs -r -n 1 printf '%s\n' <<< "$1" && printf .) || fail "cannot split these options: $1"
    [ "${lines}" = . ] || mapfile -t words <<< "${lines%$'\n'.}" # the dot keeps an empty word at the end
}

stage_data() {
    local words
    split_words "${local_data_opts}"
    local/data.sh --datadir "${datadir}" --nj "${nj}" "${words[@]}"
}

stage_format() {
    local name evaluation=()
    for name in ${test_sets}; do # the validation set may be decoded too
        [ "${name}" = "${valid_set}" ] || evaluation+=("${name}")
    done
    for name in "${train_set}" "${valid_set}"; do
        "${PYTHON}" -m espnet_vivit.bin.avsr_format --data "${datadir}/${name}" --out "${dumpdir}/raw/org/${name}" --nj "${nj}"
    done
    for name in "${evaluation[@]}"; do
        "${PYTHON}" -m espnet_vivit.bin.avsr_format --data "${datadir}/${name}" --out "${dumpdir}/raw/${name}" --nj "${nj}"
    done
    "${PYTHON}" -m espnet_vivit.bin.avsr_format --out "${dumpdir}/raw/org/${train_set}" \
        --held_out "${dumpdir}/raw/org/${valid_set}" "${evaluation[@]/#/${dumpdir}/raw/}"
    [ "${#evaluation[@]}" -eq 0 ] || "${PYTHON}" -m espnet_vivit.bin.avsr_format --out "${dumpdir}/raw/org/${valid_set}" \
        --held_out "${evaluation[@]/#/${dumpdir}/raw/}"
}

stage_filter() {
    local name
    for name in "${train_set}" "${valid_set}"; do
        "${PYTHON}" -m espnet_vivit.bin.avsr_filter --data "${dumpdir}/raw/org/${name}" --out "${dumpdir}/raw/${name}" \
            --min_duration "${min_wav_duration}" --max_duration "${max_wav_duration}"
    done
}

stage_tokens() {
    "${PYTHON}" -m espnet_vivit.bin.avsr_tokens --text "${dumpdir}/raw/${train_set}/text" \
        --out "$(dirname "${token_list}")" --token_type "${token_type}" --nbpe "${nbpe}" --bpe_mode "${bpe_mode}"
}

stage_lm_shapes() {
    [ -n "${lm_config}" ] || fail "--use_lm true needs --lm_config, a YAML for ESPnet's lm_train such as conf/train_lm.yaml."
    "${PYTHON}" -m espnet_vivit.bin.avsr_lm shapes --train "${dumpdir}/raw/${train_set}/text" \
        --valid "${dumpdir}/raw/${valid_set}/text" --out "${lm_stats_dir}" --token_list "${token_list}" \
        --token_type "${token_type}" "${bpe_option[@]}"
}

stage_lm_train() {
    local words
    split_words "${lm_args}"
    # shellcheck disable=SC2086  # train_cmd is a list of words
    OMP_NUM_THREADS=${num_threads} ${train_cmd} "${PYTHON}" -m espnet_vivit.bin.avsr_lm train \
        --config "${lm_config}" --output_dir "${lm_exp}" --resume true --ngpu "${ngpu}" \
        --token_type "${token_type}" --token_list "${token_list}" "${bpe_option[@]}" \
        --train_data_path_and_name_and_type "${dumpdir}/raw/${train_set}/text,text,text" \
        --valid_data_path_and_name_and_type "${dumpdir}/raw/${valid_set}/text,text,text" \
        --train_shape_file "${lm_stats_dir}/train/text_shape.${token_type}" \
        --valid_shape_file "${lm_stats_dir}/valid/text_shape.${token_type}" "${words[@]}"
}

stage_lm_perplexity() {
    "${PYTHON}" -m espnet_vivit.bin.avsr_lm perplexity --ngpu "$((ngpu > 0))" --output_dir "${lm_exp}/perplexity_${valid_set}" \
        --data_path_and_name_and_type "${dumpdir}/raw/${valid_set}/text,text,text" \
        --train_config "${lm_exp}/config.yaml" --model_file "${lm_exp}/${inference_lm}"
    echo "perplexity of ${valid_set}: $(cat "${lm_exp}/perplexity_${valid_set}/ppl")"
}

stage_ngram() {
    "${PYTHON}" -m espnet_vivit.bin.avsr_ngram --train "${dumpdir}/raw/${train_set}/text" \
        --valid "${dumpdir}/raw/${valid_set}/text" --order "${ngram_num}" --out "${ngram_file}" \
        --token_list "${token_list}" --token_type "${token_type}" "${bpe_option[@]}"
}

# Set `rate`, the model's feature rate, and `stats`, the folder of the shapes. What CTC can align depends on the rate, and
# what it cannot is left out of the shapes: each rate has its own.
name_stats() {
    rate=$("${PYTHON}" -m espnet_vivit.bin.avsr_streams --config "${asr_config}" --ask feature_rate "$@")
    stats=${stats_of_frames}
    [ "${rate}" = frame ] || stats+="_${rate}"
    stats=${asr_stats_dir:-${stats}}
}

stage_shapes() {
    local words rate stats
    split_words "${asr_args}"
    name_stats "${words[@]}"
    "${PYTHON}" -m espnet_vivit.bin.avsr_shapes --train "${dumpdir}/raw/${train_set}" --valid "${dumpdir}/raw/${valid_set}" \
        --out "${stats}" --token_list "${token_list}" --token_type "${token_type}" \
        "${bpe_option[@]}" --feature_rate "${rate}"
}

stage_train() {
    local words data rate stats
    split_words "${asr_args}"
    name_stats "${words[@]}"
    data=$("${PYTHON}" -m espnet_vivit.bin.avsr_streams --config "${asr_config}" --ask train_options \
        --train "${dumpdir}/raw/${train_set}" --valid "${dumpdir}/raw/${valid_set}" --stats "${stats}" \
        --prepared "${datadir}" "${words[@]}")
    mapfile -t data <<< "${data}"
    "${PYTHON}" -m espnet_vivit.bin.avsr_resume --exp "${asr_exp}" --config "${asr_config}" --token_list "${token_list}" \
        --data "${dumpdir}/raw/${train_set}" --shapes "${stats}/train/text_shape.${token_type}" \
        --valid "${dumpdir}/raw/${valid_set}" --valid_shapes "${stats}/valid/text_shape.${token_type}" \
        --prepared "${datadir}" --args="${asr_args}" --resume_changed "${resume_changed}"
    # shellcheck disable=SC2086  # train_cmd is a list of words
    OMP_NUM_THREADS=${num_threads} ${train_cmd} "${PYTHON}" -m espnet_vivit.bin.avsr_train \
        --config "${asr_config}" --output_dir "${asr_exp}" --resume true --ngpu "${ngpu}" \
        --multiprocessing_distributed "$([ "${ngpu}" -gt 1 ] && echo true || echo false)" \
        --token_type "${token_type}" --token_list "${token_list}" "${bpe_option[@]}" "${data[@]}" "${words[@]}"
}

# Fill the array `options` with those of the search.
decode_options() {
    local words
    split_words "${inference_args}"
    options=("${words[@]}")
    [ -z "${inference_config}" ] || options=(--config "${inference_config}" "${options[@]}")
    if "${use_lm}"; then
        options+=(--lm_train_config "${lm_exp}/config.yaml" --lm_file "${lm_exp}/${inference_lm}")
    fi
    if "${use_ngram}"; then options+=(--ngram_file "${ngram_file}"); fi
}

# Fill the array `devices` with the GPUs that decoding may use: as in training the first --ngpu that can be seen. Empty
# without GPUs, and where decode_cmd is set: what starts jobs on a cluster also says which GPU is theirs.
decode_devices() {
    devices=()
    [ "${ngpu}" -gt 0 ] && [ -z "${decode_cmd}" ] || return 0
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
        IFS=', ' read -ra devices <<< "${CUDA_VISIBLE_DEVICES}"
        [ "${#devices[@]}" -ge "${ngpu}" ] ||
            fail "--ngpu ${ngpu}: CUDA_VISIBLE_DEVICES='${CUDA_VISIBLE_DEVICES}' has ${#devices[@]} devices."
        devices=("${devices[@]:0:ngpu}")
    else
        mapfile -t devices < <(seq 0 $((ngpu - 1)))
    fi
}

stage_decode() {
    local words names sets controls chosen options devices seen part failed=0 pids=()
    decode_devices
    decode_options
    read -ra names <<< "${test_sets}"
    sets=("${names[@]/#/${dumpdir}/raw/}")
    read -ra names <<< "${control_sets}"
    controls=("${names[@]/#/${dumpdir}/raw/}")
    read -ra chosen <<< "${modalities}"
    "${PYTHON}" -m espnet_vivit.bin.avsr_decode plan --out "${decode_dir}" --config "${asr_exp}/config.yaml" \
        --model "${asr_exp}/${inference_asr_model}" --sets "${sets[@]}" --control_sets "${controls[@]}" \
        --modalities "${chosen[@]}" --options="${options[*]} $([ -z "${inference_config}" ] || cat "${inference_config}")"
    mkdir -p "${decode_dir}/logs"
    trap 'kill "${pids[@]}" 2> /dev/null || true' EXIT # background processes do not hear Ctrl-C
    for part in $(seq "${inference_nj}"); do
        seen=()
        [ "${#devices[@]}" -eq 0 ] || seen=(CUDA_VISIBLE_DEVICES="${devices[(part - 1) % ${#devices[@]}]}")
        # shellcheck disable=SC2086  # decode_cmd is a list of words
        env OMP_NUM_THREADS=1 "${seen[@]}" ${decode_cmd} "${PYTHON}" -m espnet_vivit.bin.avsr_decode part --out "${decode_dir}" \
            --part "${part}" --parts "${inference_nj}" -- --ngpu "$((ngpu > 0))" --asr_train_config "${asr_exp}/config.yaml" \
            --asr_model_file "${asr_exp}/${inference_asr_model}" "${options[@]}" \
            2> "${decode_dir}/logs/decode.${part}.log" > >(if [ "${part}" -eq 1 ]; then cat; else cat > /dev/null; fi) &
        pids+=($!)
    done
    for part in $(seq "${inference_nj}"); do
        wait "${pids[part - 1]}" || {
            failed=$((failed + 1))
            echo "part ${part} of ${inference_nj} failed. Last lines of ${decode_dir}/logs/decode.${part}.log:"
            tail -n 12 "${decode_dir}/logs/decode.${part}.log"
        }
    done
    trap - EXIT
    [ "${failed}" -eq 0 ] || return 1
    "${PYTHON}" -m espnet_vivit.bin.avsr_decode join --out "${decode_dir}"
}

stage_score() {
    local words modality hypotheses target wanted=()
    for target in ${targets}; do # only of what was decoded: TEST_SET:MODALITY:PERCENT -> <test set>_<modality>
        modality=${target#*:}
        [ ! -d "${decode_dir}/${target%%:*}_${modality%:*}" ] || wanted+=(--target "${target}")
    done
    "${PYTHON}" -m espnet_vivit.bin.avsr_cost --asr_model_file "${asr_exp}/${inference_asr_model}" \
        --out "${asr_exp}/cost.json" > /dev/null
    split_words "${score_opts}"
    "${PYTHON}" -m espnet_vivit.bin.avsr_results --exp "${asr_exp}" --data "${dumpdir}/raw" --out "${asr_exp}/RESULTS.md" \
        --inference_tag "${inference_tag}" --command "${run_command}" \
        "${wanted[@]}" "${words[@]}"
    "${PYTHON}" -m espnet_vivit.bin.avsr_contact_sheet curves --exp "${asr_exp}" --out "${asr_exp}/training_curves.png"
    read -ra words <<< "${test_sets}"
    for modality in video multimodal; do
        hypotheses="${decode_dir}/${words[0]}_${modality}/1best_recog/text"
        [ -f "${hypotheses}" ] || continue
        "${PYTHON}" -m espnet_vivit.bin.avsr_contact_sheet clips --video_scp "${dumpdir}/raw/${words[0]}/video.scp" \
            --ref "${dumpdir}/raw/${words[0]}/text" --hyp "${hypotheses}" --out "${asr_exp}/clips_${words[0]}_${modality}.png"
    done
}

stage_pack() {
    local modality decoded options model=${asr_exp} stated=(--licence "not stated")
    [ ! -f "${pack_card}" ] || stated=(--card "${pack_card}")
    decode_options
    for modality in video audio multimodal; do # confidences are there after --inference_args "--word_times true"
        decoded="${decode_dir}/${valid_set}_${modality}/1best_recog"
        [ ! -f "${decoded}/confidence" ] || "${PYTHON}" -m espnet_vivit.bin.cli calibrate "${asr_exp}" \
            --ref "${dumpdir}/raw/${valid_set}/text" --hyp "${decoded}" --modality "${modality}"
    done
    rm -rf "${asr_exp}/partial.zip" "${asr_exp}/merged"
    if grep -q '^tower_adapters:$' "${asr_exp}/config.yaml"; then # a package is whole: adapters go into their bases
        model=${asr_exp}/merged
        "${PYTHON}" -m espnet_vivit.bin.cli merge-adapters "${asr_exp}" "${model}" --weights "${inference_asr_model}"
    fi
    "${PYTHON}" -m espnet_vivit.bin.cli pack "${model}" "${asr_exp}/partial.zip" --weights "${inference_asr_model}" \
        "${stated[@]}" --decoded_with="${options[*]@Q}" > /dev/null # how it was decoded goes along, with the language models of stages 6 to 9
    mv "${asr_exp}/partial.zip" "${asr_exp}/${asr_tag}.zip"
    echo "${asr_exp}/${asr_tag}.zip: $(du -h "${asr_exp}/${asr_tag}.zip" | cut -f1)"
}
