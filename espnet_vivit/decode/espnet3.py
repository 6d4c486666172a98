"""What decodes in ESPnet3's stage infer: its runner around our Speech2Text.

    model:
      _target_: espnet_vivit.decode.espnet3.ClipRecognizer
      model: ${exp_dir}
      modality: multimodal
    runner:
      _target_: espnet_vivit.decode.espnet3.AVSRInferenceRunner

In: clips as a data directory has them, video (T, H, W) uint8 and speech at 16 kHz. Out: `{"text": …}` for each. The
provider, the shards, the cluster that they run on and the files are ESPnet3's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.espnet3.names import ASRInferenceRunner
from espnet_vivit.units import AUDIO_RATE_HZ


class ClipRecognizer:
    """`ClipRecognizer(exp_dir)(speech=…, video=…)` is ESPnet's n-best list of one unprocessed clip.

    Arguments as in `Speech2Text.from_pretrained`: an experiment folder or a package, and what of the search is asked
    for. The crop is that of evaluation, from the middle.
    """

    sample_rate = AUDIO_RATE_HZ  # ESPnet3's audio inputs ask the backend for it

    def __init__(
        self,
        model: str | Path,
        *,
        weights: str | None = None,
        modality: str | None = None,
        search: str | None = None,
        beam_size: int | None = None,
        ctc_weight: float | None = None,
        device: str = "cpu",
    ):
        asked = {"search": search, "beam_size": beam_size, "ctc_weight": ctc_weight}
        self.speech2text = Speech2Text.from_pretrained(
            model, weights=weights, modality=modality, device=device, **asked
        )
        self.preprocess = AVSRTask.build_preprocess_fn(self.speech2text.asr_train_args, train=False)

    def __call__(self, speech: np.ndarray | None = None, video: np.ndarray | None = None) -> list[tuple]:
        streams = {name: value for name, value in (("speech", speech), ("video", video)) if value is not None}
        if self.preprocess is not None:
            streams = self.preprocess("of this call", streams)
        return self.speech2text(**streams)


class AVSRInferenceRunner(ASRInferenceRunner):
    """ESPnet3's runner for recognition, for clips with or without sound."""

    @staticmethod
    def prepare_model_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Sound as an array (N,), video as it is."""
        return ASRInferenceRunner.prepare_model_inputs(inputs) if "speech" in inputs else dict(inputs)
