# shellcheck shell=bash
# Sourced, not run. Which Python and which package: as for all recipes.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/../../TEMPLATE/avsr1/path.sh"
