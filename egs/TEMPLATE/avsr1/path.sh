# shellcheck shell=bash
# Sourced, not run. Says which Python runs the recipe and where the package is.
# $PYTHON, when set, wins; then the repository's .venv; then python3. Outside a clone the package is the installed one.

repository=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
[ -f "${repository}/espnet_vivit/__init__.py" ] || repository=""
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -n "${repository}" ] && [ -x "${repository}/.venv/bin/python" ] && PYTHON="${repository}/.venv/bin/python"
fi
export PYTHON
[ -z "${repository}" ] || export PYTHONPATH="${repository}${PYTHONPATH:+:${PYTHONPATH}}"
export PYTHONUTF8=1 # file names and transcripts are UTF-8, whatever the locale says
export PYTHONUNBUFFERED=1 # a log shows what has happened, not what had when a buffer was last full
