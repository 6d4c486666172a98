"""Do these data and this model fit? A configuration or experiment and a data directory in, a table of findings out.

    espnet-vivit check conf/train_tiny_both.yaml dump/raw/train --token_list data/token_list/word/tokens.txt
    espnet-vivit check exp/avsr_vivit dump/raw/train

In the order of the table: the configuration's options; the data directory; some clips, decoded; the tokens; whether CTC
can align; whether the model can be built; whether it learns four clips by heart; memory and time of the largest batch,
with the configured optimizer.
An experiment's folder stands for its config.yaml, token list included; its weights are not used. Nothing is written.
Exit code 0: nothing speaks against training (warnings may be worth a look); 1: something does.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_vivit.errors import EspnetVivitError
from espnet_vivit.tasks.rehearsal.configuration import (
    check_keys,
    read_subject,
    token_type_of,
    training_arguments,
    write_token_list,
)
from espnet_vivit.tasks.rehearsal.findings import FAIL, OK, Row, check_clips, check_ctc, check_directory, check_tokens

if TYPE_CHECKING:
    import torch

LIMIT_S = 90.0
LEARNING_RATE = 1e-3
CTC_WEIGHT = 0.1  # E2E's own, where the configuration says nothing
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    config: Path  # a YAML, or an experiment's folder
    data: Path
    token_list: Path | None = None
    token_type: str | None = None
    bpemodel: Path | None = None
    seconds: float = LIMIT_S  # for learning one batch
    lr: float = LEARNING_RATE
    device: str = "auto"


class Stopped(Exception):
    """A finding after which nothing else can be checked."""

    def __init__(self, row: Row):
        self.row = row


@contextlib.contextmanager
def stops(name: str) -> Iterator[None]:
    """An error of ours inside the block is a finding, after which nothing else can be checked."""
    try:
        yield
    except EspnetVivitError as error:
        raise Stopped(Row(FAIL, name, str(error))) from error


def examine(options: Options) -> Iterator[Row]:
    """The findings, each as soon as it is made."""
    with tempfile.TemporaryDirectory(prefix="espnet_vivit_check") as folder:
        try:
            yield from _examine(options, Path(folder))
        except Stopped as stop:
            yield stop.row


def _examine(options: Options, folder: Path) -> Iterator[Row]:
    from espnet_vivit.tasks.rehearsal.model import device_of
    from espnet_vivit.tasks.streams import configured_modality, feature_rate_of
    from espnet_vivit.units import STREAMS_OF

    with stops("configuration"):
        config, trained = read_subject(options.config)
        if not trained:
            check_keys(config, options.config)
        streams, rate = STREAMS_OF[configured_modality(config)], feature_rate_of(config)
        conf = config.get("model_conf") or {}
    yield Row(OK, "configuration", f"{options.config}: takes {' and '.join(streams)}, feature_rate {rate}")
    with stops("data directory"):
        directory, utterances = check_directory(
            options.data, streams=streams, word_times=bool(conf.get("frame_loss_weight"))
        )
    yield directory
    clips = check_clips(utterances, streams=streams)
    yield clips
    with stops("tokens"):
        kind = token_type_of(config, options.token_type, options.bpemodel)
        text = {"token_type": kind, "bpemodel": options.bpemodel}
        token_list, labels, made_here = write_token_list(config, options.data, folder, given=options.token_list, **text)
        tokens = check_tokens(labels, token_list.read_text(encoding="utf-8").splitlines(), kind, made_here=made_here)
    yield tokens
    ctc = check_ctc(labels, utterances, feature_rate=rate, ctc_weight=conf.get("ctc_weight", CTC_WEIGHT))
    yield ctc
    if FAIL in (directory.state, clips.state, tokens.state, ctc.state):
        yield Row(FAIL, "model", "not tried on data that are not right")
        return
    with stops("device"):
        device = device_of(options.device)
    with stops("configuration"):
        sources = (config, options.config, options.data, utterances, folder)
        on_gpu = device.type == "cuda"
        args = training_arguments(*sources, trained=trained, token_list=token_list, on_gpu=on_gpu, **text)
    yield from _examine_model(
        options, device, args, {utterance.utt_id: utterance.text for utterance in utterances}, trained
    )


def _examine_model(
    options: Options, device: "torch.device", args: argparse.Namespace, texts: Mapping[str, str], trained: bool
) -> Iterator[Row]:
    import torch

    from espnet_vivit.tasks.avsr import AVSRTask
    from espnet_vivit.tasks.rehearsal import model as check_model
    from espnet_vivit.tasks.rehearsal.batches import training_batches

    with stops("model"):
        torch.manual_seed(args.seed)
        if trained:  # its vision tower is in its config.yaml: neither hub nor cache is needed
            model, _ = AVSRTask.build_model_from_file(options.config / "config.yaml", device=str(device))
        else:
            model = AVSRTask.build_model(args)
        model = model.to(device)
        configured = check_model.build_optimizer(args, model)
        row = check_model.model_row(model)
        yield row
        if row.state == FAIL:
            return
    with stops("one batch"):
        batches = training_batches(args)
        chosen = check_model.clips_to_learn(batches, texts)
        batch = batches.load(chosen, device)
        optimizer = torch.optim.AdamW(check_model.trained_parameters(model), lr=options.lr, weight_decay=0.0)
        learnt = check_model.learn_by_heart(model, optimizer, batch, limit_s=options.seconds)
    yield check_model.learnt_row(learnt, len(chosen))
    del batch, optimizer  # and with it what it keeps of each parameter
    joined = bool(args.preprocessor_conf.get("join_prob"))
    with stops("largest batch"):
        row = check_model.largest_row(model, configured, batches, device, joined=joined)
    yield row
