# shellcheck shell=bash
# Sourced by a recipe's run.sh and local/data.sh, not run: what all of them do with their arguments.

# Split "$@" into `datadir`, which the driver gives as --datadir, and the array `options`, the rest.
split_datadir() {
    datadir=data options=()
    while [ $# -gt 0 ]; do
        case "$1" in
            --datadir) datadir=${2:?--datadir needs a folder} && shift 2 ;;
            *) options+=("$1") && shift ;;
        esac
    done
}

# take_options "NAME..." "$@": set the variables of the options named, all others go into the array `others`.
take_options() {
    local names=" $1 " name
    shift
    others=()
    while [ $# -gt 0 ]; do
        name=${1%%=*}
        name=${name#--}
        name=${name//-/_}
        if [[ "$1" != --* || "${names}" != *" ${name} "* ]]; then
            others+=("$1")
            shift
        elif [[ "$1" == *=* ]]; then
            printf -v "${name}" '%s' "${1#*=}"
            shift
        else
            [ $# -gt 1 ] || { echo "error: option --${name} needs a value. See --help." >&2 && exit 1; }
            printf -v "${name}" '%s' "$2"
            shift 2
        fi
    done
}

# The folder that an option names, absolute: the driver changes to the recipe's folder.
folder_of() {
    [ -d "$2" ] || { echo "error: --$1: '$2' is not a folder." >&2 && exit 1; }
    (cd "$2" && pwd)
}

# In quotes, as xargs takes apart what --local_data_opts holds; a name may have blanks and apostrophes.
quoted() {
    printf "'%s'" "${1//\'/\'\"\'\"\'}"
}

# "./run.sh" and how it was called, to be copied into RESULTS.md
command_line() {
    printf './run.sh'
    [ $# -eq 0 ] || printf ' %q' "$@"
}

# run_prepared_corpus CORPUS RECIPE [default option...] -- "$@": a recipe whose stage 1 prepares CORPUS from the folder that
# the user's option --CORPUS_root names, into the sets train, dev and test. Does not return.
run_prepared_corpus() {
    local corpus=$1 recipe=$2 root_option="$1_root" defaults=() local_data_opts="" root
    shift 2
    while [ "$1" != -- ]; do
        defaults+=("$1")
        shift
    done
    shift
    local "${root_option}="
    take_options "${root_option} local_data_opts" "$@"
    if [ -n "${!root_option}" ]; then
        root=$(folder_of "${root_option}" "${!root_option}")
        local_data_opts="--corpus_root $(quoted "${root}") ${local_data_opts}"
    fi
    exec "$(dirname "${BASH_SOURCE[0]}")/avsr.sh" \
        --recipe_dir "${recipe}" \
        --run_command "$(command_line "$@")" \
        --train_set train \
        --valid_set dev \
        --test_sets "test" \
        --control_sets "test" \
        --inference_config ../../../conf/decode_avsr.yaml \
        --local_data_opts "${local_data_opts}" \
        "${defaults[@]}" \
        "${others[@]}"
}
