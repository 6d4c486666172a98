#!/bin/sh
# Makes .venv in the repository's root and installs the package there, editable, under the versions of constraints.txt.
#
#   tools/setup_venv.sh                       does nothing when .venv is complete and its inputs are unchanged
#   PYTHON=/path/to/python tools/setup_venv.sh         takes this Python instead of looking for one
#
# .venv/espnet_vivit.state says what .venv is: "installing" until the last step is done, then a key over the inputs.
set -eu

PIP="pip==26.1"  # 26.3 and later refuse ci_sdr, a dependency of ESPnet; before 23, wheels of today are not understood
EXTRAS=dev
NEEDED_KIB=8000000  # torch comes with its CUDA libraries: 6 GB, and room to unpack

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
venv=.venv
state=$venv/espnet_vivit.state
log=$venv/install.log

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# What .venv depends on; a moved repository too, because an editable installation holds its path.
inputs_key() {
    { cat setup.py pyproject.toml constraints.txt tools/setup_venv.sh; printf '%s\n' "$root"; } | cksum | tr ' ' -
}

ask() { "$1" -c "import sys, sysconfig; print($2)" 2>/dev/null; }  # ask PYTHON EXPRESSION

version_fits() { [ "$(ask "$1" '(3, 10) <= sys.version_info[:2] <= (3, 12)')" = True ]; }

# Prints what PYTHON lacks to install ESPnet (whose dependency pyworld is compiled), as one sentence; nothing if all is there.
lacks() {
    version=$(ask "$1" '"%d.%d" % sys.version_info[:2]')
    if ! "$1" -c 'import venv, ensurepip' 2>/dev/null; then
        echo "$1 has no venv module: apt-get install python$version-venv"
        return
    fi
    include=$(ask "$1" 'sysconfig.get_paths()["include"]')
    if [ ! -f "$include/Python.h" ]; then
        echo "$1 has no C headers ($include/Python.h): apt-get install python$version-dev"
        return
    fi
    cc=${CC:-$(ask "$1" 'sysconfig.get_config_var("CC") or "cc"')}
    cxx=${CXX:-$(ask "$1" 'sysconfig.get_config_var("CXX") or "c++"')}
    # Unquoted on purpose: these may hold options. Without g++, gcc is there but cannot compile C++.
    # shellcheck disable=SC2086
    if ! $cc -x c -fsyntax-only /dev/null 2>/dev/null || ! $cxx -x c++ -fsyntax-only /dev/null 2>/dev/null; then
        echo "no working C and C++ compiler ($cc, $cxx): apt-get install gcc g++"
    fi
}

# Sets `python`. A name on PATH proves nothing (pyenv's stand-ins exist and fail): each candidate is run. 3.13 and later
# do not fit: ESPnet 202511 asks for sentencepiece 0.2.0, and editdistance is another one without wheels for them.
find_python() {
    problem= others=
    for python in ${PYTHON:-python3.12 python3.11 python3.10 python3}; do
        if ! version_fits "$python"; then
            version=$(ask "$python" '"%d.%d.%d" % sys.version_info[:3]') && others="$others, $python is $version"
            continue
        fi
        lacking=$(lacks "$python")
        [ -n "$lacking" ] || return 0
        problem=${problem:-$lacking}
    done
    [ -z "$problem" ] || fail "$problem"
    [ -z "$others" ] || fail "no Python 3.10, 3.11 or 3.12 runs here (${others#, }), and ESPnet's sentencepiece 0.2.0 has no\
 wheels for later ones: get a 3.12 beside it (uv python install 3.12, or conda create -n py312 python=3.12), then say\
 PYTHON=/path/to/python3.12 make demo"
    fail "no Python 3.10, 3.11 or 3.12 runs here (tried: ${PYTHON:-python3.12 python3.11 python3.10 python3}):\
 apt-get install python3 python3-venv python3-dev gcc g++"
}

# timed WHAT COMMAND...: output goes to the terminal if there is one, else to the log, whose end is shown on failure.
timed() {
    what=$1
    shift
    say "$what ..."
    started=$(date +%s)
    if [ -t 1 ]; then
        "$@" || fail "failed: $*"
    elif ! "$@" >>"$log" 2>&1; then
        tail -n 40 "$log" >&2
        fail "failed: $* (the whole log: $log)"
    fi
    say "$what: $(($(date +%s) - started)) s"
}

key=$(inputs_key)
found=$(cat "$state" 2>/dev/null || true)
if [ "$found" = "$key" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    say ".venv is complete, nothing to install"
    exit 0
fi

begun=$(date +%s)
if [ "$found" = installing ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    find_python
    free=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$NEEDED_KIB" ] || fail "$free KiB are free here and $NEEDED_KIB are needed: make room and run this again"
    say "making .venv with $python ($(ask "$python" 'sys.version.split()[0]'))"
    "$python" -m venv --clear "$venv"
fi
echo installing >"$state"
timed "installing $PIP" "$venv/bin/python" -m pip install "$PIP" "setuptools<74" wheel
timed "installing the package and what it needs (6 GB, some minutes)" \
    "$venv/bin/python" -m pip install -c constraints.txt -e ".[$EXTRAS]"
"$venv/bin/python" -m pip check || say "warning: the packages above disagree"
echo "$key" >"$state"
say "done in $(($(date +%s) - begun)) s"
