#!/usr/bin/env bash
# Stage 1 of GRID: data directories from the folder --grid_root, and one test set again under babble at each ratio of
# --babble_snr_db. See TEMPLATE/avsr1/prepare_data.sh, and
#   espnet-vivit prepare grid --help
set -euo pipefail
unset CDPATH
template="$(dirname "${BASH_SOURCE[0]}")/../../../TEMPLATE/avsr1"
# shellcheck source-path=SCRIPTDIR source=../../../TEMPLATE/avsr1/data_options.sh
. "${template}/data_options.sh"

babble_set="" babble_snr_db=""
take_options "babble_set babble_snr_db" "$@"
"${template}/prepare_data.sh" grid "${others[@]}"
split_datadir "${others[@]}"
for snr_db in ${babble_snr_db}; do
    name="${babble_set}_babble_${snr_db}db"
    "${PYTHON}" -m espnet_vivit.bin.avsr_babble --data "${datadir}/${babble_set}" --talkers "${datadir}/train" \
        --out "${datadir}/${name}" --wav_dir "${datadir}/clips/${name}" --snr_db "${snr_db}"
done
