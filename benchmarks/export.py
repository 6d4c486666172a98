"""What exporting a trained model costs in words and gives in time: PyTorch, ONNX, and ONNX with int8 weights.

    python benchmarks/export.py exp/avsr_TAG dump/raw/test_seen [--limit 100]

Video alone, greedy CTC, one clip at a time, one thread. WER by jiwer; milliseconds are the median of a clip; the last
column is the largest difference of a log-probability from PyTorch's.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import jiwer
import numpy as np
import onnxruntime
import torch

from espnet_vivit.data.scp import read_scp
from espnet_vivit.decode.model_files import open_model
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.release.export import export_model
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.augment import crop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="experiment folder or package")
    parser.add_argument("data", type=Path, help="data directory of a test set, with video.scp")
    parser.add_argument("--limit", type=int, help="only so many clips")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = open_model(options.model)
    model, _ = AVSRTask.build_model_from_file(files.config, files.weights)
    model.eval()
    videos = list(read_scp(options.data / "video.scp").items())[: options.limit]
    text = read_scp(options.data / "text")
    clips = [crop(read_video(path), model.vision_encoder.preset, rng=None)[None].copy() for _, path in videos]
    references = [text[utt_id] for utt_id, _ in videos]
    print(f"{len(clips)} clips of {options.data}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}\n")
    print("| computed by | file MB | WER % | Sub / Del / Ins | ms a clip | largest difference |")
    print("|---|--:|--:|--:|--:|--:|")
    exact: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        export_model(model, plain)
        export_model(model, small, int8=True)
        size = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6
        ways = [("PyTorch, all of the model", size, torch_way(model))]
        ways += [
            (name, path.stat().st_size / 1e6, onnx_way(path)) for name, path in (("ONNX", plain), ("ONNX, int8", small))
        ]
        for name, megabytes, way in ways:
            found, spent_s = run(way, clips)
            exact = exact or found
            heard = [spelt(one, model.token_list) for one in found]
            errors = jiwer.process_words(references, heard)
            difference = max(float(np.abs(a - b).max()) for a, b in zip(found, exact, strict=True))
            counts = f"{errors.substitutions} / {errors.deletions} / {errors.insertions}"
            print(
                f"| {name} | {megabytes:.1f} | {100 * errors.wer:.1f} | {counts} | {1000 * np.median(spent_s):.1f} "
                f"| {difference:.1e} |",
                flush=True,
            )


def torch_way(model) -> Callable[[np.ndarray], np.ndarray]:
    def log_probs(video: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            states, _ = model.encode(video=torch.from_numpy(video), video_lengths=torch.tensor([video.shape[1]]))
            return model.ctc.log_softmax(states)[0].numpy()

    return log_probs


def onnx_way(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def log_probs(video: np.ndarray) -> np.ndarray:
        return session.run(None, {"video": video, "lengths": np.array([video.shape[1]])})[0][0]

    return log_probs


def run(way: Callable[[np.ndarray], np.ndarray], clips: list[np.ndarray]) -> tuple[list[np.ndarray], list[float]]:
    found, spent_s = [], []
    way(clips[0])  # the first call allocates
    for clip in clips:
        begun_s = time.perf_counter()
        found.append(way(clip))
        spent_s.append(time.perf_counter() - begun_s)
    return found, spent_s


def spelt(log_probs: np.ndarray, tokens: list[str]) -> str:
    """(T', V) -> the words of the best path; tokens are words here, or pieces that begin with a mark."""
    ids = [label for label, _ in groupby(log_probs.argmax(1).tolist()) if 0 < label < len(tokens) - 1]
    pieces = [tokens[label] for label in ids]
    marked = any(piece.startswith("▁") for piece in tokens)
    return "".join(pieces).replace("▁", " ").strip() if marked else " ".join(pieces)


if __name__ == "__main__":
    main()
