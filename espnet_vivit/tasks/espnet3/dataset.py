"""Data directories as ESPnet3's DataOrganizer takes them, and our preprocessing behind them.

    dataset:
      train:
        - data_src_args: {data_dir: data/train, modality: multimodal}
      preprocessor:
        _target_: espnet_vivit.tasks.espnet3.dataset.ModelPreprocessor
        model: ${model}
        augmentation: {flip_prob: 0.5}

In: a data directory (espnet_vivit/data/data_dir.py). Out: a mapping for each utterance, video as (T, H, W) uint8, and
from the preprocessor the arrays of a batch. ESPnet3 counts the items of a data set from 0; the shape files that the
stage collect_stats writes, and with them all batches, have the utterances' own ids, which augmentation needs to know
whose voice is no noise to whom.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from espnet_vivit.errors import DataError, unknown_name
from espnet_vivit.frontend.presets import trained_preset
from espnet_vivit.tasks.espnet3 import video
from espnet_vivit.tasks.espnet3.names import BaseDataset, Field
from espnet_vivit.tasks.loading.augmentation import Augmentation, check_preprocessor_conf
from espnet_vivit.tasks.loading.dataset import AVSRDataset
from espnet_vivit.tasks.loading.preprocess import AVSRPreprocessor
from espnet_vivit.tasks.streams import DATA_FILES, configured_modality, data_option, feature_rate_of
from espnet_vivit.units import STREAMS_OF

_KINDS = {"video": video.NAME, "speech": "audio"}
_ID = Field("utt_id", "text")


class DataDirDataset(BaseDataset):
    """`dataset["utterance"]` or `dataset[0]` is `{"utt_id", "text", the streams of the modality[, "word_times"]}`.

    Args:
        data_dir: a data directory.
        modality: "video", "audio" or "multimodal": which streams are read.

    Raises:
        DataError: a stream that the data directory does not have, or an utterance whose id is a number.
    """

    def __init__(self, data_dir: str | Path, modality: str = "multimodal"):
        if modality not in STREAMS_OF:
            raise unknown_name("modality", modality, STREAMS_OF)
        folder, streams = Path(data_dir), STREAMS_OF[modality]
        timed = ["word_times"] if (folder / DATA_FILES["word_times"][0]).is_file() else []
        names = [*streams, "text", *timed]
        options = [tuple(data_option(folder, name).split(",")) for name in names]
        self.lists = AVSRDataset(cast("list[tuple[str, str, str]]", options))
        self.utt_ids = list(self.lists)
        numbers = [utt_id for utt_id in self.utt_ids if _is_number(utt_id)]
        if numbers:
            raise DataError(
                f"{folder} has utterances that are named by a number, which ESPnet3 takes for a place in the list",
                found=numbers[0],
                fix="Put a letter in front of each, as the speaker's name",
            )
        self.fields = (_ID, *(Field(name, _KINDS.get(name, "text")) for name in names))

    def __len__(self) -> int:
        return len(self.utt_ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.utt_ids)

    def __getitem__(self, index: int | str) -> dict[str, Any]:
        utt_id = index if isinstance(index, str) else self.utt_ids[index]
        return {"utt_id": utt_id, **self.lists.raw(utt_id)}


def _is_number(utt_id: str) -> bool:
    try:
        int(utt_id)
    except ValueError:
        return False
    return True


class ModelPreprocessor(AVSRPreprocessor):
    """AVSRPreprocessor for the model that a training.yaml describes.

    Args:
        train: whether augmentation is drawn; ESPnet3's DataOrganizer sets it.
        model: the section `model` of the YAML.
        augmentation: the options of `Augmentation`.
    """

    def __init__(self, train: bool, *, model: Mapping, augmentation: Mapping | None = None):
        check_preprocessor_conf(augmentation or {})
        model = {name: value for name, value in model.items() if value is not None}  # null: ESPnet's default
        super().__init__(
            train,
            token_type=model["token_type"],
            token_list=model["token_list"],
            bpemodel=model.get("bpemodel"),
            preset=trained_preset(model) if "video" in STREAMS_OF[configured_modality(model)] else None,
            feature_rate=feature_rate_of(model),
            augmentation=Augmentation(**(augmentation or {})),
        )

    def __call__(self, uid: str, data: Mapping[str, np.ndarray | str]) -> dict[str, np.ndarray]:
        return super().__call__(uid, {name: value for name, value in data.items() if name != _ID.name})


Dataset = DataDirDataset  # the name that `data_src: espnet_vivit.tasks.espnet3.dataset` looks for
