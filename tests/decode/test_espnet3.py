"""ESPnet3's backend and runner give what Speech2Text gives for the preprocessed clip, from any of the streams."""

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("espnet3", reason="ESPnet3 comes with espnet 202609 and later")

from espnet3.contract.inference import load_inference_contract

from espnet_vivit.decode.espnet3 import AVSRInferenceRunner, ClipRecognizer
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.espnet3.dataset import DataDirDataset
from tests.tiny import randomize
from tests.tiny_corpus import PIXELS, TOKENS, write_config, write_tiny_corpus

CONTRACT = {
    "imports": ["espnet_vivit.tasks.espnet3.video"],
    "inputs": {
        "speech": {"kind": "audio", "sample_rate": 16000, "channels": 1, "optional": True},
        "video": {"kind": "video", "optional": True},
    },
    "outputs": {"text": {"kind": "text"}},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("exp")
    config = write_config(folder / "train.yaml")
    args = AVSRTask.get_parser().parse_args(["--config", str(config), "--output_dir", str(folder)])
    args.token_list = list(TOKENS)
    model = randomize(AVSRTask.build_model(args))
    torch.save(model.state_dict(), folder / "valid.acc.ave.pth")
    (folder / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    return folder


def decode(dataset, model, index):
    contract = load_inference_contract(CONTRACT)
    keys = ["speech", "video"]
    return AVSRInferenceRunner.forward(index, dataset=dataset, model=model, input_key=keys, inference_contract=contract)


@pytest.mark.parametrize("modality", ["multimodal", "video", "audio"])
def test_a_clip_is_decoded_as_by_speech2text(experiment, corpus, modality):
    search = {"beam_size": 3, "ctc_weight": 0.5}
    dataset = DataDirDataset(corpus / "valid", modality)
    model = ClipRecognizer(experiment, modality=modality, **search)
    recognizer = Speech2Text.from_pretrained(experiment, modality=modality, **search)
    preprocess = AVSRTask.build_preprocess_fn(recognizer.asr_train_args, train=False)
    texts = set()
    for index, utt_id in enumerate(dataset):
        streams = preprocess(
            utt_id, {name: dataset[index][name] for name in ("speech", "video") if name in dataset[index]}
        )
        (expected, *_), *_ = recognizer(**streams)
        assert decode(dataset, model, index) == {"text": expected, "utt_id": utt_id}
        texts.add(expected)
    assert any(texts)


def test_a_search_without_a_hypothesis_is_an_empty_text():
    assert AVSRInferenceRunner.format_output([], batched=False) == {"text": ""}


def test_an_unknown_modality_is_refused(experiment):
    with pytest.raises(ConfigError, match="Did you mean 'video'"):
        ClipRecognizer(experiment, modality="vidoe")


@pytest.mark.parametrize(
    "clip",
    [
        np.zeros((5, PIXELS, PIXELS), np.float32),
        np.zeros((5, PIXELS, PIXELS, 3), np.uint8),
        np.zeros((0, PIXELS, PIXELS), np.uint8),
        "clip.mp4",
    ],
)
def test_what_is_no_gray_clip_is_refused_by_the_contract(experiment, clip):
    with pytest.raises(TypeError, match=r"'video' given as .* must be uint8 \(T, H, W\)"):
        decode([{"utt_id": "a", "video": clip}], None, 0)


def test_two_pieces_of_a_video_are_joined_in_time():
    from espnet3.contract import KINDS

    first, second = np.zeros((2, 4, 4), np.uint8), np.ones((3, 4, 4), np.uint8)
    assert (KINDS["video"].join(first, second) == np.concatenate([first, second])).all()
