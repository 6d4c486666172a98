#!/usr/bin/env bash
# Stage 1 of the recipes that prepare a corpus of videos: prepare_data.sh CORPUS --datadir DIR --corpus_root ROOT [option...]
# The driver gives --datadir and --nj, a recipe's run.sh --corpus_root; the rest goes to
#   espnet-vivit prepare CORPUS --help
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=data_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/data_options.sh"

corpus=$1 corpus_root=""
shift
split_datadir "$@"
take_options "corpus_root" "${options[@]}"
if [ -z "${corpus_root}" ]; then
    echo "error: where is the corpus? Give run.sh --${corpus}_root DIR." >&2
    exit 1
fi
"${PYTHON}" -m espnet_vivit.bin.cli prepare "${corpus}" "${corpus_root}" "${datadir}" "${others[@]}"
