"""A folder of videos, each with its transcript beside it, and a trained model in; a model fine-tuned on them out.

    python examples/finetune_on_folder.py videos exp/avsr_train exp/avsr_finetuned --epochs 5

`videos` holds name.mp4 (or .mkv, .mov, …) and name.txt for each clip; every tenth clip is kept for validation. The new
model starts from the weights of the old one and has its tokens; the vision encoder stays frozen, which suits small
data.
"""

import argparse
from pathlib import Path

import torch
import yaml

from espnet_vivit import AVSRTask
from espnet_vivit.corpora.data_dir import Utterance, write_data_dir
from espnet_vivit.errors import DataError
from espnet_vivit.media.audio_file import write_wav
from espnet_vivit.media.mouth_clip import read_mouth_clip
from espnet_vivit.media.video_file import write_gray_video
from espnet_vivit.model_files import open_model
from espnet_vivit.pack import packed_config
from espnet_vivit.tasks.model_config import read_weights
from espnet_vivit.tasks.options import read_config

FILES = {"speech": "wav.scp,speech,sound", "video": "video.scp,video,video", "text": "text,text,text"}


def prepare(videos: Path, out: Path, *, mouth_size: int, detector: str) -> dict[str, Path]:
    """Mouth crops and sound of every video with a transcript; data directories `train` and `valid`."""
    clips = []
    for transcript in sorted(videos.glob("*.txt")):
        video = next((path for path in sorted(videos.glob(f"{transcript.stem}.*")) if path != transcript), None)
        if video is None:
            raise DataError(f"there is no video beside {transcript}")
        clip = read_mouth_clip(video, size=mouth_size, detector=detector)
        media = out / "clips" / transcript.stem
        media.parent.mkdir(parents=True, exist_ok=True)
        write_gray_video(media.with_suffix(".npy"), clip.frames)
        if clip.speech is not None:
            write_wav(media.with_suffix(".flac"), clip.speech)
        clips.append(
            Utterance(
                utt_id=transcript.stem,
                speaker="folder",
                text=" ".join(transcript.read_text(encoding="utf-8").split()),
                wav=None if clip.speech is None else str(media.with_suffix(".flac").resolve()),
                video=str(media.with_suffix(".npy").resolve()),
                num_frames=len(clip.frames),
                num_samples=0 if clip.speech is None else len(clip.speech),
            )
        )
    if len(clips) < 2:
        raise DataError(f"too few clips in {videos}", found=len(clips), expected="two or more, each with its .txt")
    sets = {"valid": clips[::10], "train": [clip for index, clip in enumerate(clips) if index % 10]}
    for name, utterances in sets.items():
        write_data_dir(out / name, utterances)
    return {name: out / name for name in sets}


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
    mouth_size = files.facts.mouth_size or 96
    data = prepare(options.videos, options.out / "data", mouth_size=mouth_size, detector=options.detector)

    config = {name: value for name, value in packed_config(known).items() if value is not None}  # what builds the model
    del config["token_list"]
    config["model_conf"] = {**(known.get("model_conf") or {}), "frame_loss_weight": 0}  # there are no word times
    start = {name: value for name, value in read_weights(files.weights).items() if not name.startswith("frame_head.")}
    torch.save(start, options.out / "start.pth")
    if files.bpemodel is not None:
        config["bpemodel"] = str(files.bpemodel)
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
    streams = {"video": ["video"], "audio": ["speech"], "multimodal": ["speech", "video"]}[known["modality"]]
    command = ["--config", options.out / "train.yaml", "--token_list", options.out / "tokens.txt"]
    command += ["--output_dir", options.out / "exp"]
    for name, folder in data.items():
        for stream in (*streams, "text"):
            command += [f"--{name}_data_path_and_name_and_type", f"{folder}/{FILES[stream]}"]
        command += [f"--{name}_shape_file", folder / "text"]  # unsorted batches want the ids alone
    AVSRTask.main(cmd=[str(word) for word in command])
    print(f"fine-tuned: espnet-vivit transcribe VIDEO --model {options.out / 'exp'}")


if __name__ == "__main__":
    main()
