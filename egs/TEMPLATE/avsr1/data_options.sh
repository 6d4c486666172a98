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

# "./run.sh" and how it was called, to be copied into RESULTS.md
command_line() {
    printf './run.sh'
    [ $# -eq 0 ] || printf ' %q' "$@"
}
