#!/usr/bin/env bash
# Stage 1 of LRS2: data directories from the folder --lrs2_root. See TEMPLATE/avsr1/prepare_data.sh, and
#   espnet-vivit prepare lrs2 --help
set -euo pipefail
unset CDPATH
exec "$(dirname "${BASH_SOURCE[0]}")/../../../TEMPLATE/avsr1/prepare_data.sh" lrs2 "$@"
