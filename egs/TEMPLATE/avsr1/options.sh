# shellcheck shell=bash
# Sourced, not run: the option parser of the recipes.
#
# `parse_options "$@"` takes `--name value` and `--name=value` and sets the shell variable of that name. An option
# exists if `usage` lists it; anything else is an error that names the nearest one. Give each a default before: it says
# of what kind the option's values are.

option_names() {
    usage | sed -n 's/^ *--\([a-z0-9_]*\) .*/\1/p'
}

nearest_option() {
    option_names | "${PYTHON:-python3}" -c '
import difflib, sys
near = difflib.get_close_matches(sys.argv[1], sys.stdin.read().split(), n=1)
print(f" Did you mean --{near[0]}?" if near else "")' "$1" 2> /dev/null || true
}

fail() {
    echo "error: $*" >&2
    exit 1
}

# Fill the arrays `pattern` and `expected`: what the values of options may be whose defaults are true or false, a whole
# number, or a number with a point.
learn_kinds() {
    local name
    for name in $(option_names); do
        if [[ "${!name-}" =~ ^(true|false)$ ]]; then
            pattern[${name}]='^(true|false)$' expected[${name}]="true or false"
        elif [[ "${!name-}" =~ ^[0-9]+$ ]]; then
            pattern[${name}]='^[0-9]+$' expected[${name}]="a whole number"
        elif [[ "${!name-}" =~ ^[0-9]+\.[0-9]+$ ]]; then
            pattern[${name}]='^([0-9]+\.?[0-9]*|\.[0-9]+)$' expected[${name}]="a number such as ${!name}"
        fi
    done
}

parse_options() {
    local argument name value
    local -A pattern=() expected=()
    learn_kinds # before the first option is set: by what it then is, 7 would turn a number with a point into a whole one
    while [ $# -gt 0 ]; do
        argument=$1
        case "${argument}" in
            --help | -h)
                usage
                exit 0
                ;;
            --*=*)
                name=${1%%=*} value=${1#*=}
                ;;
            --*)
                name=$1 value=${2-}
                ;;
            *) fail "unexpected argument '$1': options are written --name value. See --help." ;;
        esac
        shift
        name=${name#--}
        name=${name//-/_}
        option_known "${name}"
        if [[ "${argument}" != *=* ]]; then
            [ $# -gt 0 ] || fail "option --${name} needs a value. See --help."
            shift
        fi
        if [ -n "${pattern[${name}]-}" ] && ! [[ "${value}" =~ ${pattern[${name}]} ]]; then
            fail "option --${name}: found '${value}'; expected ${expected[${name}]}."
        fi
        printf -v "${name}" '%s' "${value}"
    done
}

option_known() {
    option_names | grep -qxF -- "$1" || fail "unknown option --$1.$(nearest_option "$1") See --help for all."
}
