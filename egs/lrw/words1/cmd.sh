# shellcheck shell=bash
# Sourced, not run. How heavy commands are started: as for all recipes; set train_cmd and decode_cmd here for a cluster.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/../../TEMPLATE/avsr1/cmd.sh"
