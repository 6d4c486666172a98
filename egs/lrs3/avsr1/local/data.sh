#!/usr/bin/env bash
# Stage 1 of LRS3: data directories from the folder --lrs3_root. See TEMPLATE/avsr1/prepare_data.sh, and
#   espnet-vivit prepare lrs3 --help
set -euo pipefail
unset CDPATH
exec "$(dirname "${BASH_SOURCE[0]}")/../../../TEMPLATE/avsr1/prepare_data.sh" lrs3 "$@"
