"""A model that really reads: a few mini_av clips learnt by heart, sound and lips, in a few seconds.

Its CTC branch learns each frame's word, so that its word times are as exact as the corpus's. It has no attention
decoder: it reads whatever clips are strung together, and that is what transcribing long recordings is tested with.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
import yaml

from espnet_vivit.corpora.mini_av.corpus import prepare
from espnet_vivit.data.data_dir import Utterance, read_data_dir
from espnet_vivit.media.files.audio_file import read_wav
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.frame_labels import frame_labels
from tests.tiny_corpus import write_config

CLIPS, STEPS = 3, 240
SIZE = 48  # pixels of mini_av's pictures
CONFIG = {
    "vision_encoder_conf": {"image_size": 44, "output_dim": 48},
    "audio_encoder": "resnet1d",
    "audio_encoder_conf": {"channels": 4, "stem_stride": 16},
    "encoder_conf": {
        "output_size": 48,
        "attention_heads": 2,
        "linear_units": 96,
        "num_blocks": 1,
        "cnn_module_kernel": 15,
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
    },
    "model_conf": {"ctc_weight": 1.0, "frame_loss_weight": 1.0},  # word times come from the frames' own head
    "decoder_conf": {},
    "preprocessor_conf": {"flip_prob": 0.0, "time_masks_per_s": 0.0},
}
LIVE_CONFIG = {  # the same in chunks, with sound that is normalised as it comes
    **CONFIG,
    "audio_encoder_conf": {**CONFIG["audio_encoder_conf"], "waveform_normalization": "running"},
    "encoder_conf": {**CONFIG["encoder_conf"], "chunk_steps": [4, 8, 16, 0], "left_steps": 32},
}
_kept: list[TemporaryDirectory] = []  # until Python ends


@cache
def live_reader() -> tuple[Path, list[Utterance]]:
    """`write_reader` with LIVE_CONFIG, trained once for all tests of a process, which do not change its files."""
    folder = TemporaryDirectory()
    _kept.append(folder)
    return write_reader(Path(folder.name), LIVE_CONFIG)


def write_reader(folder: Path, config: Mapping = CONFIG) -> tuple[Path, list[Utterance]]:
    """(experiment folder, the clips that it knows by heart)."""
    counts = {"num_train": CLIPS, "num_dev": 2, "num_test_seen": 2, "num_test_unseen": 2}
    directories = prepare(folder / "data", nj=1, progress=False, variation=0.0, **counts)
    clips = read_data_dir(directories["train"])
    words = sorted({word for clip in clips for word in clip.text.split()})
    lists = [
        [f"{directories['train']}/{file}", name, kind]
        for file, name, kind in (("video.scp", "video", "video"), ("wav.scp", "speech", "sound"))
    ]
    config = write_config(folder / "train.yaml", **config, train_data_path_and_name_and_type=lists)
    args = AVSRTask.get_parser().parse_args(["--config", str(config)])
    args.token_list = ["<blank>", "<unk>", *words, "<sos/eos>"]
    torch.manual_seed(0)
    model = AVSRTask.build_model(args)
    learn(model, clips, AVSRTask.build_preprocess_fn(args, train=False), args.token_list)
    (folder / "exp").mkdir()
    (folder / "exp/config.yaml").write_text(yaml.safe_dump(vars(args)))
    torch.save(model.state_dict(), folder / "exp/valid.acc.ave.pth")
    return folder / "exp", clips


def learn(model, clips: list[Utterance], preprocess, tokens: list[str]) -> None:
    """Each frame's word from both streams and from either, on clips strung together in random order."""
    known = [material(clip, preprocess, tokens) for clip in clips]
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for step in range(STEPS):
        chosen = [known[index] for index in rng.permutation(len(known))[:2]]
        video, speech, labels = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
        streams = {"video": video, "speech": speech + 0.003 * rng.standard_normal(len(speech)).astype(np.float32)}
        streams.pop(("none", "video", "speech")[step % 3], None)
        batch = {}
        for name, value in streams.items():
            batch |= {name: torch.tensor(value)[None], f"{name}_lengths": torch.tensor([len(value)])}
        states, _ = model.train().encode(**batch)
        heads = (model.ctc.ctc_lo, model.frame_head)
        loss = sum(F.cross_entropy(head(states[0]), torch.tensor(labels)) for head in heads)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    model.eval()


def material(clip: Utterance, preprocess, tokens: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Video, speech and the token of each frame."""
    data = preprocess(clip.utt_id, {"video": read_video(clip.video), "speech": read_wav(clip.wav)})
    encode = {"encode": lambda word: [tokens.index(word)], "frames": len(data["video"]), "feature_rate": "frame"}
    return data["video"], data["speech"], frame_labels(clip.word_times, **encode)
