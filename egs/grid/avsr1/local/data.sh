#!/usr/bin/env bash
# Stage 1 of GRID: data directories train, dev, test_seen and test_unseen from the folder --grid_root.
# The driver calls it in the recipe's folder with --datadir and --nj; the rest (--grid_root, --view, --size) goes to
#   python -m espnet_vivit.corpora.grid --help
set -euo pipefail

datadir=data options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --datadir)
            datadir=$2
            shift 2
            ;;
        *)
            options+=("$1")
            shift
            ;;
    esac
done

"${PYTHON}" -m espnet_vivit.corpora.grid --out "${datadir}" "${options[@]}"
