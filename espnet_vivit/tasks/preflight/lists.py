"""The lists that a run is given, checked before anything is built.

In: ESPnet's `path,name,type` triples and shape files. Out: nothing, or one error that names the file and the utterance;
ESPnet itself would stop with a KeyError in the middle of an epoch.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.data.data_dir import read_scp
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.units import STREAMS_OF

_LISTED = {"sound", "video", "text", "npy", "kaldi_ark"}  # types whose lines are `utterance value`


def check_listed_streams(names: Sequence[str], modality: str) -> None:
    """Raise ConfigError unless the data names given for training are those that a model of `modality` takes."""
    wanted = (*STREAMS_OF[modality], "text")
    missing = [name for name in wanted if name not in names]
    superfluous = [name for name in ("speech", "video") if name in names and name not in wanted]
    if missing or superfluous:
        raise ConfigError(
            f"modality {modality} needs {_and(wanted)}",
            found=f"only {_and(names)}" if missing else _and(names),
            fix=f"Add {_and(missing)} to --*_data_path_and_name_and_type"
            if missing
            else f"Leave out {_and(superfluous)}, or set another modality",
        )


def check_lists(triples: Sequence[tuple[str, str, str]], shape_files: Sequence[str]) -> set[str]:
    """The utterance ids of one set, after checking that every list has every utterance that will be asked for.

    Raises DataError for a missing or empty file, an id that occurs twice, and an utterance that one list lacks.
    """
    tables = {path: read_scp(path) for path, _, kind in triples if kind in _LISTED}
    if not tables:
        return set()
    asked = list(shape_files) or list(tables)
    wanted_by = {key: path for path in asked for key in (tables.get(path) or read_scp(path))}
    for path, name, _ in triples:
        if path not in tables:
            continue
        missing = [key for key in wanted_by if key not in tables[path]]
        if missing:
            raise DataError(
                f"utterance {missing[0]!r} has no {name}: it is in {wanted_by[missing[0]]} and not in {path}",
                found=f"{len(missing)} of {len(wanted_by)} utterances without {name}",
                expected="the same utterances in every list",
                fix="Prepare the data again; leave clips out of all lists or of none.",
            )
    return set(wanted_by)


def check_apart(train: set[str], valid: set[str], *, same_list: bool) -> None:
    """Raise DataError if training and validation share utterances; one list for both (an overfit test) is allowed."""
    shared = sorted(train & valid)
    if shared and not same_list:
        raise DataError(
            f"training and validation overlap: both have utterance {shared[0]!r}",
            found=f"{len(shared)} shared utterances",
            expected="none",
            fix="Split the data again. To overfit on purpose, give the very same lists for both.",
        )


def check_training_data(args: argparse.Namespace) -> None:
    """All of the above for ESPnet's arguments."""
    sets = {}
    for split in ("train", "valid"):
        triples = getattr(args, f"{split}_data_path_and_name_and_type")
        names = [name for _, name, _ in triples]
        if not args.allow_variable_data_keys:
            check_listed_streams(names, args.modality)
        _check_word_times(args, names, split)
        shape_files = [] if args.collect_stats else getattr(args, f"{split}_shape_file")
        if all(
            not Path(path).is_dir() for path, _, _ in triples
        ):  # split.* folders of --multiple_iterator are not read
            sets[split] = check_lists(triples, shape_files)
    if len(sets) == 2:
        paths = [{path for path, _, _ in getattr(args, f"{split}_data_path_and_name_and_type")} for split in sets]
        check_apart(sets["train"], sets["valid"], same_list=paths[0] == paths[1])


def _check_word_times(args, names: Sequence[str], split: str) -> None:
    if args.model_conf.get("frame_loss_weight") and "word_times" not in names:
        raise ConfigError(
            f"frame_loss_weight needs word_times in the {split} data",
            found=_and(names),
            fix=f"Add --{split}_data_path_and_name_and_type DIR/word_times,word_times,text, or set the weight to 0",
        )


def _and(names: Sequence[str]) -> str:
    names = list(names)
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names) or "nothing"
