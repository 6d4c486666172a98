"""A folder of videos, each with its transcript beside it, and a trained model in; a model fine-tuned on them out.

    python examples/finetune_on_folder.py videos exp/avsr_train exp/avsr_finetuned --epochs 5

`videos` holds name.mp4 (or .mkv, .mov, …) and name.txt for each clip, or one table of them. `espnet-vivit prepare`
cuts the mouths as the model's own training clips were cut, leaves out what cannot be read (data/report.html says why)
and keeps a tenth for validation. The new model starts from the weights of the old one and has its tokens; the vision
encoder stays frozen, which suits small data.
"""

import argparse
import shutil
from pathlib import Path

import torch
import yaml

from espnet_vivit import AVSRTask
from espnet_vivit.base.config_file import read_config
from espnet_vivit.base.torch_file import read_tensors
from espnet_vivit.bin.commands import prepare
from espnet_vivit.decode.model_files import open_model
from espnet_vivit.errors import DataError
from espnet_vivit.release.pack import packed_config
from espnet_vivit.tasks.training_facts import TrainingFacts

FILES = {"speech": "wav.scp,speech,sound", "video": "video.scp,video,video", "text": "text,text,text"}
STREAMS = {"video": ["video"], "audio": ["speech"], "multimodal": ["speech", "video"]}
MOUTH_PIXELS = 96  # of a model that does not say what it was trained on


def prepare_folder(videos: Path, out: Path, *, facts: TrainingFacts, modality: str, detector: str) -> dict[str, Path]:
    """Data directories `train` and `valid` of mouths as the model knows them: see `espnet-vivit prepare --help`."""
    view = facts.mouth_view or MOUTH_PIXELS
    size = facts.mouth_size or view
    cut = ["--view", view, "--size", min(size, view), "--detector", detector, "--test", 0, "--codec", "ffv1"]
    sound = ["--modality", "video" if modality == "video" else "multimodal"]
    arguments = ["folder", videos, out, *cut, *sound]
    found = prepare.prepare(prepare.build_parser().parse_args([str(word) for word in arguments])).directories
    if "train" not in found or "dev" not in found:
        raise DataError(
            f"too few clips in {videos}", found=", ".join(found), expected="two or more, one of them to validate on"
        )
    return {"train": found["train"], "valid": found["dev"]}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--detector", default="auto", help="centre: the files show nothing but a mouth")
    options = parser.parse_args(argv)

    files = open_model(options.model)
    known = read_config(files.config)
    how = {"facts": files.facts, "modality": known["modality"], "detector": options.detector}
    data = prepare_folder(options.videos, options.out / "data", **how)

    config = {name: value for name, value in packed_config(known).items() if value is not None}  # what builds the model
    del config["token_list"]
    config["mouth_view"] = files.facts.mouth_view  # for transcribing with the new model
    config["model_conf"] = {**(known.get("model_conf") or {}), "frame_loss_weight": 0}  # there are no word times
    config["preprocessor_conf"] = {**(config.get("preprocessor_conf") or {}), "word_crop_prob": 0}
    start = {name: value for name, value in read_tensors(files.weights).items() if not name.startswith("frame_head.")}
    torch.save(start, options.out / "start.pth")
    if files.bpemodel is not None:
        config["bpemodel"] = str(shutil.copyfile(files.bpemodel, options.out / "bpe.model"))  # a package's is temporary
    config |= {
        "init_param": [str(options.out / "start.pth")],
        "freeze_param": ["vision_encoder"] if known["modality"] != "audio" else [],
        "optim": "adamw",
        "optim_conf": {"lr": options.learning_rate},
        "max_epoch": options.epochs,
        "batch_type": "unsorted",
        "batch_size": 4,
        "num_workers": 0,
        "num_att_plot": 0,
        "use_tensorboard": False,
        "use_matplotlib": False,
    }
    (options.out / "train.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (options.out / "tokens.txt").write_text("".join(f"{token}\n" for token in known["token_list"]), encoding="utf-8")
    command = ["--config", options.out / "train.yaml", "--token_list", options.out / "tokens.txt"]
    command += ["--output_dir", options.out / "exp"]
    for name, folder in data.items():
        for stream in (*STREAMS[known["modality"]], "text"):
            command += [f"--{name}_data_path_and_name_and_type", f"{folder}/{FILES[stream]}"]
        command += [f"--{name}_shape_file", folder / "text"]  # unsorted batches want the ids alone
    AVSRTask.main(cmd=[str(word) for word in command])
    print(f"fine-tuned: espnet-vivit transcribe VIDEO --model {options.out / 'exp'}")


if __name__ == "__main__":
    main()
