#!/bin/sh
# Makes .venv in the repository's root and installs the package there, editable, under locked versions.
#
#   tools/setup_venv.sh                       does nothing when .venv is complete and its inputs are unchanged
#   PYTHON=/path/to/python tools/setup_venv.sh         takes this Python instead of looking for one
#   ESPNET=202511 tools/setup_venv.sh                  .venv-espnet202511, with that release of ESPnet
#
# Python 3.12 and 3.13 get the current ESPnet (constraints.txt), Python 3.10 and 3.11 the last one that serves them,
# 202511 (constraints-espnet202511.txt). .venv/espnet_vivit.state says what .venv is: "installing" until the last step
# is done, then a key over the inputs.
set -eu

EXTRAS=dev
NEEDED_KIB=8000000  # torch comes with its CUDA libraries: 6 GB, and room to unpack

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
ESPNET=${ESPNET:-newest}
case $ESPNET in
    newest) venv=.venv PYTHONS="3.13 3.12 3.11 3.10" ;;
    202511) venv=.venv-espnet202511 PYTHONS="3.12 3.11 3.10" ;;
    *) printf 'setup: ESPNET=%s is not known: leave it out, or say 202511\n' "$ESPNET" >&2; exit 1 ;;
esac
state=$venv/espnet_vivit.state
log=$venv/install.log

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# What .venv depends on; a moved repository too, because an editable installation holds its path.
inputs_key() {
    { cat setup.py pyproject.toml constraints*.txt tools/setup_venv.sh; printf '%s\n' "$root"; } | cksum | tr ' ' -
}

ask() { "$1" -c "import sys, sysconfig; print($2)" 2>/dev/null; }  # ask PYTHON EXPRESSION

version_fits() {
    last=13
    [ "$ESPNET" = newest ] || last=12
    [ "$(ask "$1" "(3, 10) <= sys.version_info[:2] <= (3, $last)")" = True ]
}

# The release of ESPnet that PYTHON gets.
release_for() {
    if [ "$ESPNET" = 202511 ] || [ "$(ask "$1" 'sys.version_info[:2] < (3, 12)')" = True ]; then echo 202511; else echo current; fi
}

# Prints what PYTHON lacks for the installation, as one sentence; nothing if all is there. Only ESPnet 202511 has a
# dependency that is compiled (pyworld).
lacks() {
    version=$(ask "$1" '"%d.%d" % sys.version_info[:2]')
    if ! "$1" -c 'import venv, ensurepip' 2>/dev/null; then
        echo "$1 has no venv module: apt-get install python$version-venv"
        return
    fi
    [ "$(release_for "$1")" = 202511 ] || return 0
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

# The Pythons to try, newest first: those on PATH, and those that pyenv and uv keep elsewhere.
candidates() {
    for version in $PYTHONS; do
        echo "python$version"
        for path in "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/"$version".*/bin/python \
            "${XDG_DATA_HOME:-${HOME:-}/.local/share}"/uv/python/cpython-"$version".*/bin/"python$version"; do
            [ ! -x "$path" ] || echo "$path"
        done
    done
    echo python3
}

# Sets `python`. A name on PATH proves nothing (pyenv's stand-ins exist and fail): each candidate is run.
find_python() {
    problem= others=
    [ "$ESPNET" = newest ] && wanted="3.10 to 3.13" || wanted="3.10 to 3.12"
    tried=${PYTHON:-$(candidates)}
    for python in $tried; do
        if ! version_fits "$python"; then
            version=$(ask "$python" '"%d.%d.%d" % sys.version_info[:3]') && others="$others, $python is $version"
            continue
        fi
        lacking=$(lacks "$python")
        [ -n "$lacking" ] || return 0
        problem=${problem:-$lacking}
    done
    [ -z "$problem" ] || fail "$problem"
    [ -z "$others" ] || fail "no Python $wanted runs here (${others#, }), and ESPnet has no release for others: get a 3.12\
 beside it (uv python install 3.12, or conda create -n py312 python=3.12), then say PYTHON=/path/to/python3.12 make demo"
    fail "no Python $wanted runs here (tried:$(printf ' %s' $tried)): apt-get install python3 python3-venv python3-dev gcc g++"
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
    say "$venv is complete, nothing to install"
    exit 0
fi

begun=$(date +%s)
if [ "$found" = installing ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    find_python
    free=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$NEEDED_KIB" ] || fail "$free KiB are free here and $NEEDED_KIB are needed: make room and run this again"
    say "making $venv with $python ($(ask "$python" 'sys.version.split()[0]'))"
    "$python" -m venv --clear "$venv"
fi
echo installing >"$state"
if [ "$(release_for "$venv/bin/python")" = 202511 ]; then
    # pip 26.3 and later refuse ci_sdr, a dependency of ESPnet 202511, which also wants setuptools<74
    pip="pip==26.1" setuptools="setuptools<74" constraints=constraints-espnet202511.txt
else
    pip="pip==26.3" setuptools="setuptools>=77,<82" constraints=constraints.txt
fi
timed "installing $pip" "$venv/bin/python" -m pip install "$pip" "$setuptools" wheel
timed "installing the package and what it needs (6 GB, some minutes)" \
    "$venv/bin/python" -m pip install -c "$constraints" -e ".[$EXTRAS]"
"$venv/bin/python" -m pip check || say "warning: the packages above disagree"
echo "$key" >"$state"
say "done in $(($(date +%s) - begun)) s"
