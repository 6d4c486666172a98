"""A trained model of isolated words on a test set: `python -m espnet_vivit.bin.words_evaluate`.

Out: `predictions.tsv` and `confusions.png` in the folder --out, whose last part names the test set, and the model's
parameters and work per frame in `cost.json` beside it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.base.progress_bar import progress_bar
from espnet_vivit.base.whole_file import write_whole
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.data_dir import Utterance, read_data_dir
from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.words import FILE, MOST, Answers, Prediction, class_lines, plot_words, write_predictions


def predict(model, utterances: Sequence[Utterance], *, views: int, device: str) -> list[Prediction]:
    """Answers for clips of one word each, the mean over 1 or 3 crops. Raises DataError for a word unknown to it."""
    import torch

    from espnet_vivit.frontend.vivit.classifier import evaluate_views
    from espnet_vivit.media.files.video_file import read_video

    place = {word: index for index, word in enumerate(model.words)}
    unknown = sorted({utterance.text for utterance in utterances} - set(place))
    if unknown:
        found = f"{len(unknown)}, such as {unknown[0]!r}"
        raise DataError("the test set has words that the model does not know", found=found, fix="Train on all words.")
    predictions = []
    with progress_bar(len(utterances), "words") as bar:
        for utterance in utterances:
            if utterance.video is None:
                raise DataError(f"utterance {utterance.utt_id} has no video")
            clip = torch.tensor(read_video(utterance.video), device=device)
            shares = evaluate_views(
                model.classifier, clip, frames=len(clip), temporal=1, spatial=views, average="probabilities"
            )
            guess, rank = int(shares.argmax()), int((shares > shares[place[utterance.text]]).sum()) + 1
            names = (utterance.utt_id, utterance.speaker, utterance.text, model.words[guess])
            predictions.append(Prediction(*names, float(shares[guess]), rank))
            bar.update()
    return predictions


def cost_of(model, *, height: int, num_frames: int) -> dict:
    """Parameters, and multiply-adds in G for each frame of a clip of `height` pixels."""
    import torch

    from espnet_vivit.bin.avsr_cost import count_gmacs

    rows, columns = model.classifier.encoder.preset.crop_shape(height)
    clip = torch.zeros(1, num_frames, rows, columns, dtype=torch.uint8)
    gmacs = count_gmacs(lambda: model.classifier(clip))["Global"]
    return {"parameters": sum(p.numel() for p in model.parameters()), "gmacs_per_frame": gmacs / num_frames}


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.words_evaluate",
        description="Answer every clip of a test set of isolated words and draw the confusions.",
        epilog="example: python -m espnet_vivit.bin.words_evaluate --model_file exp/words_vivit/valid.acc.ave.pth "
        "--data dump/raw/test --out exp/words_vivit/evaluated/test",
    )
    parser.add_argument("--model_file", type=Path, required=True, help="weights file of a trained model")
    parser.add_argument("--train_config", type=Path, help="(default: config.yaml beside the weights file)")
    parser.add_argument("--data", type=Path, required=True, help="data directory of the test set")
    parser.add_argument("--out", type=Path, required=True, help="folder for the predictions and the picture")
    parser.add_argument("--views", type=int, choices=(1, 3), default=1, help="crops to average over (default: 1)")
    parser.add_argument("--ngpu", type=int, choices=(0, 1), default=0, help="number of GPUs (default: 0)")
    args = parser.parse_args(argv)
    from espnet_vivit.media.files.video_file import probe_video
    from espnet_vivit.tasks.launch import check_devices
    from espnet_vivit.tasks.words import WordsTask

    check_devices(args.ngpu)
    device = "cuda" if args.ngpu else "cpu"
    utterances = read_data_dir(args.data)
    model, _ = WordsTask.build_model_from_file(args.train_config, args.model_file, device)
    predictions = predict(model.eval(), utterances, views=args.views, device=device)
    write_predictions(args.out / FILE, predictions, num_words=len(model.words))
    test = Answers(args.out.name, tuple(predictions), len(model.words))
    plot_words(test, args.out / "confusions.png")
    info = probe_video(utterances[0].video or "")
    cost = cost_of(model.to("cpu"), height=info.height, num_frames=info.num_frames)
    write_whole(args.out / "cost.json", json.dumps(cost, indent=1) + "\n")
    interval = test.interval()
    print(f"{test.name}: top-1 {100 * test.accuracy():.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]")
    if test.num_words > MOST:
        print(f"{test.name}: top-5 {100 * test.accuracy(MOST):.1f} %")
    print("\n".join(class_lines(test)))


if __name__ == "__main__":
    sys.exit(exit_status(main))
