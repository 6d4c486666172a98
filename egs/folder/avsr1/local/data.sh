#!/usr/bin/env bash
# Stage 1 of a folder of videos: data directories from the folder --folder_root. See TEMPLATE/avsr1/prepare_data.sh, and
#   espnet-vivit prepare folder --help
set -euo pipefail
unset CDPATH
exec "$(dirname "${BASH_SOURCE[0]}")/../../../TEMPLATE/avsr1/prepare_data.sh" folder "$@"
