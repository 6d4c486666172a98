"""A corpus of a few noise clips with word times, and the YAML of a model small enough to train on it in seconds."""

from pathlib import Path

import numpy as np
import soundfile
import yaml

from espnet_vivit.data.data_dir import Utterance, WordTime, write_data_dir

WORDS = ["bin", "lay", "set", "red", "blue", "now"]
TOKENS = ["<blank>", "<unk>", *WORDS, "<sos/eos>"]
PIXELS = 24
CONFIG = {
    "vision_encoder": "linear",
    "vision_encoder_conf": {"image_size": 22, "output_dim": 16},
    "audio_encoder": "resnet1d",
    "audio_encoder_conf": {"channels": 4},
    "encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 32,
        "num_blocks": 1,
        "cnn_module_kernel": 7,
    },
    "decoder_conf": {"attention_heads": 2, "linear_units": 32, "num_blocks": 1},
    "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1, "frame_loss_weight": 1.0},
    "token_type": "word",
    "batch_type": "unsorted",
    "batch_size": 4,
    "max_epoch": 2,
    "num_workers": 0,
    "keep_nbest_models": 2,
    "optim": "adamw",
    "optim_conf": {"lr": 0.001},
    "scheduler": "cosine_with_warmup",
    "scheduler_conf": {"warmup_steps": 1, "total_steps": 10},
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
}


def write_tiny_corpus(root: Path, *, splits=(("train", 8), ("valid", 4))) -> Path:
    """Data directories `root/train` and `root/valid`, and `root/tokens.txt`; clips of 20 to 29 frames."""
    rng = np.random.default_rng(3)
    root.mkdir(parents=True, exist_ok=True)
    for split, count in splits:
        write_data_dir(root / split, [write_clip(root, f"s{i % 2}-{split}{i}", rng) for i in range(count)])
    (root / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    return root


def write_clip(root: Path, utt_id: str, rng: np.random.Generator) -> Utterance:
    frames = int(rng.integers(20, 30))
    words = [WORDS[index] for index in rng.integers(0, len(WORDS), 2)]
    np.save(root / f"{utt_id}.npy", rng.integers(0, 256, (frames, PIXELS, PIXELS), dtype=np.uint8))
    soundfile.write(root / f"{utt_id}.wav", 0.1 * rng.standard_normal(frames * 640), 16000)
    return Utterance(
        utt_id=utt_id,
        speaker=utt_id[:2],
        text=" ".join(words),
        wav=str(root / f"{utt_id}.wav"),
        video=str(root / f"{utt_id}.npy"),
        num_frames=frames,
        num_samples=frames * 640,
        word_times=(WordTime(0.1, 0.4, words[0]), WordTime(0.42, 0.7, words[1])),
    )


def write_config(path: Path, **changes) -> Path:
    """The tiny configuration with top-level keys changed; a key whose value is ... is left out."""
    config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not ...}
    path.write_text(yaml.safe_dump(config))
    return path


FILES = {
    "speech": "wav.scp,speech,sound",
    "video": "video.scp,video,video",
    "text": "text,text,text",
    "word_times": "word_times,word_times,text",
}


def data_options(root: Path, names=tuple(FILES)) -> list[str]:
    """`--train_data_path_and_name_and_type …` and the same for valid."""
    options = []
    for split in ("train", "valid"):
        for name in names:
            options += [f"--{split}_data_path_and_name_and_type", f"{root / split}/{FILES[name]}"]
    return options


def shape_options(root: Path) -> list[str]:
    """Any list of utterances serves as the shape file of unsorted batches."""
    return ["--train_shape_file", str(root / "train/text"), "--valid_shape_file", str(root / "valid/text")]
