"""Word times of a data directory by forced alignment with a trained model: targets for `frame_loss_weight`.

example: python -m espnet_vivit.bin.avsr_align --asr_model_file exp/avsr/valid.acc.ave.pth --data dump/raw/train
    --out dump/raw/train/word_times

Any corpus with sound can have them: train on sound first, align with it, then train on video with the times. Look at
the result first: CTC sees the whole sentence and may place a word early or late. With the model of mini_av's demo, word
boundaries on test_seen are 0.30 s (median; 90 %: 0.58 s) from the true ones, too far to train on.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from espnet_vivit.bin.command import exit_status, write_lines
from espnet_vivit.corpora.data_dir import format_word_times, read_scp
from espnet_vivit.errors import DataError, InputError
from espnet_vivit.media.audio_file import read_wav
from espnet_vivit.units import FEATURE_RATES, VIDEO_RATE_HZ


def align(options: argparse.Namespace) -> None:
    from espnet_vivit.decode.align import word_times
    from espnet_vivit.decode.speech2text import Speech2Text

    model_file = Path(options.asr_model_file)
    config = options.asr_train_config or model_file.parent / "config.yaml"
    recogniser = Speech2Text(config, model_file, modality="audio", ctc_weight=1.0)
    model = recogniser.asr_model
    step_s = FEATURE_RATES[model.feature_rate] / VIDEO_RATE_HZ
    texts, sounds = read_scp(options.data / "text"), read_scp(options.data / "wav.scp")
    lines = []
    for utt_id, text in tqdm(sorted(texts.items()), desc="align", unit="clip", file=sys.stderr):
        if utt_id not in sounds:
            raise DataError(f"utterance {utt_id!r} has a text but no sound in {options.data / 'wav.scp'}")
        words = text.split()
        ids = [recogniser.converter.tokens2ids(recogniser.tokenizer.text2tokens(word)) for word in words]
        speech = torch.from_numpy(read_wav(sounds[utt_id]))[None]
        with torch.no_grad():
            states, _ = model.encode(speech=speech, speech_lengths=torch.tensor([speech.size(1)]))
            states = states[0] if isinstance(states, tuple) else states
            log_probs = model.ctc.log_softmax(states)[0]
        try:
            times = word_times(log_probs, words, ids, blank=model.blank_id, step_s=step_s)
        except InputError as error:
            raise DataError(f"utterance {utt_id!r}: {error}") from error
        lines.append(f"{utt_id} {format_word_times(times)}")
    write_lines(options.out, lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asr_model_file", required=True, help="a model that takes sound")
    parser.add_argument("--asr_train_config", help="default: config.yaml beside the model file")
    parser.add_argument("--data", type=Path, required=True, help="data directory with wav.scp and text")
    parser.add_argument("--out", type=Path, required=True, help="the word_times file to write")
    align(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(exit_status(main))
