#!/usr/bin/env bash
# Stage 1 of GRID: data directories from the folder --grid_root. See TEMPLATE/avsr1/prepare_data.sh, and
#   espnet-vivit prepare grid --help
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../../../TEMPLATE/avsr1/prepare_data.sh" grid "$@"
