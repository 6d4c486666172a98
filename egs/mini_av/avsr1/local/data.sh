#!/usr/bin/env bash
# Stage 1 of mini_av: render train, dev, test_seen and test_unseen, and both test sets again with babble at 0 dB.
# The driver calls it in the recipe's folder with --datadir and --nj and whatever --local_data_opts says, which goes to
#   python -m espnet_vivit.bin.avsr_mini_av --help        for example --local_data_opts "--num-train 200 --size 96"
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=../../../TEMPLATE/avsr1/data_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../TEMPLATE/avsr1/data_options.sh"

split_datadir "$@"
"${PYTHON}" -m espnet_vivit.bin.avsr_mini_av --out "${datadir}" "${options[@]}"
for name in test_seen test_unseen; do
    "${PYTHON}" -m espnet_vivit.bin.avsr_babble --data "${datadir}/${name}" --talkers "${datadir}/train" \
        --out "${datadir}/${name}_babble_0db" --wav_dir "${datadir}/clips/${name}_babble_0db" --snr_db 0
done
