"""Can CTC align what a training is given? An utterance with more labels than feature steps has an infinite loss, which
ESPnet turns into a silent zero: nothing is learnt from it.

In: the shape files, the transcripts, the token list and `feature_rate` of a training. Out: nothing, a warning that
names the utterances, or DataError. Stage 10 of a recipe leaves such utterances out, for one feature rate and one token
list; here it is looked at what is really trained on, whoever made the shapes, and for whatever.
"""

import argparse
import logging
from pathlib import Path

from espnet_vivit.data.feasibility import MAX_EXCLUDED, check_feasibility
from espnet_vivit.data.scp import read_scp
from espnet_vivit.tasks.loading.batches import holds_lengths, read_frames
from espnet_vivit.tasks.loading.pieces import tokenizer_for
from espnet_vivit.tasks.model_config import read_token_list
from espnet_vivit.tasks.preflight.tokens import UNKNOWN, spread

NAMED = 3  # utterances in a warning

log = logging.getLogger(__name__)  # logging.warning() would set up logging before ESPnet does, see preflight/tokens.py


def check_alignable(args: argparse.Namespace) -> None:
    """For ESPnet's arguments: DataError if CTC cannot align more than MAX_EXCLUDED of the training utterances.

    Of fewer, and of a validation set, there is a warning. Without shape files that hold lengths nothing is known.
    """
    if args.collect_stats or not args.use_preprocessor or args.model_conf.get("ctc_weight", 0.1) == 0:
        return
    tokenizer = tokenizer_for(args.token_type, args.bpemodel, train=True)
    known = set(read_token_list(args.token_list))
    for split in ("train", "valid"):
        shape_files = [path for path in getattr(args, f"{split}_shape_file") if holds_lengths(path)]
        if not shape_files:
            continue
        frames = read_frames(shape_files)
        looked_at = spread(sorted(frames))
        for path, name, kind in getattr(args, f"{split}_data_path_and_name_and_type"):
            if (name, kind) != ("text", "text") or Path(path).is_dir():  # a folder of --multiple_iterator
                continue
            texts = read_scp(path)
            cut = {utt_id: tokenizer.text2tokens(texts[utt_id]) for utt_id in looked_at}
            labels = {utt: [token if token in known else UNKNOWN for token in tokens] for utt, tokens in cut.items()}
            lengths = {utt_id: frames[utt_id] for utt_id in looked_at}
            report = check_feasibility(labels, lengths, feature_rate=args.feature_rate)
            if split == "train":
                report.require_share(MAX_EXCLUDED)
            if report.excluded:
                log.warning(
                    "CTC cannot align %d of %d utterances of %s at feature_rate %s, such as %s: nothing is learnt from "
                    "them. Stage 10 of a recipe leaves them out. %s",
                    len(report.excluded),
                    len(report.utterances),
                    path,
                    args.feature_rate,
                    ", ".join(utterance.utt_id for utterance in report.excluded[:NAMED]),
                    report.way_out(),
                )
