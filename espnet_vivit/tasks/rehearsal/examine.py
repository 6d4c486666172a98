"""Do these data and this model fit? A configuration or experiment and a data directory in, a table of findings out.

    espnet-vivit check conf/train_tiny_both.yaml dump/raw/train --token_list data/token_list/word/tokens.txt
    espnet-vivit check exp/avsr_vivit dump/raw/train

In the order of the table: the configuration's options; the data directory; some clips, decoded; the tokens; whether CTC
can align; whether the model can be built; whether it learns four clips by heart; memory and time of the largest batch,
with the configured optimizer.
An experiment's folder stands for its config.yaml, token list included; its weights are not used. Nothing is written.
Exit code 0: nothing speaks against training (warnings may be worth a look); 1: something does.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.base.finding import FAIL, OK, Finding
from espnet_vivit.base.text_file import read_lines
from espnet_vivit.errors import EspnetVivitError
from espnet_vivit.tasks.rehearsal.configuration import (
    check_keys,
    read_subject,
    token_type_of,
    training_arguments,
    write_token_list,
)
from espnet_vivit.tasks.rehearsal.findings import check_clips, check_ctc, check_directory, check_tokens
from espnet_vivit.units import STREAMS_OF

LIMIT_S = 90.0
LEARNING_RATE = 1e-3
CTC_WEIGHT = 0.1  # E2E's own, where the configuration says nothing
DEVICES = ("auto", "cpu", "cuda")

Step = tuple[str, Callable[[], Finding | None]]  # name of the finding, and what makes it; None: nothing to report


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


def examine(options: Options) -> Iterator[Finding]:
    """The findings, each as soon as it is made. An error of ours in a step is a finding, and the last one."""
    with tempfile.TemporaryDirectory(prefix="espnet_vivit_check") as folder:
        rehearsal, states = Rehearsal(options, Path(folder)), []
        for finding in rehearsal.run(rehearsal.data_steps()):
            states.append(finding.state)
            yield finding
        if rehearsal.stopped:
            return
        if FAIL in states:
            yield Finding(FAIL, "model", "not tried on data that are not right")
            return
        yield from rehearsal.run(rehearsal.model_steps())


class Rehearsal:
    """The steps of the check; each leaves what it has found out for the next ones, and may fail with one of our errors.

    folder: an empty one, for lists that the steps write.
    """

    def __init__(self, options: Options, folder: Path):
        self.options, self.folder, self.stopped = options, folder, False

    def run(self, steps: Iterable[Step]) -> Iterator[Finding]:
        """What the steps find. After an error, or a model that cannot be trained, `stopped` is set."""
        for name, step in steps:
            try:
                finding = step()
            except EspnetVivitError as error:
                finding, self.stopped = Finding(FAIL, name, str(error)), True
            if finding is not None:
                yield finding
                self.stopped = self.stopped or (name == "model" and finding.state == FAIL)
            if self.stopped:
                return

    def data_steps(self) -> tuple[Step, ...]:
        return (
            ("configuration", self.read_configuration),
            ("data directory", self.read_directory),
            ("clips", self.read_clips),
            ("tokens", self.read_tokens),
            ("CTC", self.align),
        )

    def model_steps(self) -> tuple[Step, ...]:
        return (
            ("device", self.choose_device),
            ("configuration", self.read_arguments),
            ("model", self.build_model),
            ("one batch", self.learn_one_batch),
            ("largest batch", self.try_largest_batch),
        )

    def read_configuration(self) -> Finding:
        from espnet_vivit.tasks.streams import configured_modality, feature_rate_of

        path = self.options.config
        self.config, self.trained = read_subject(path)
        if not self.trained:
            check_keys(self.config, path)
        self.streams, self.rate = STREAMS_OF[configured_modality(self.config)], feature_rate_of(self.config)
        self.model_conf = self.config.get("model_conf") or {}
        return Finding(OK, "configuration", f"{path}: takes {' and '.join(self.streams)}, feature_rate {self.rate}")

    def read_directory(self) -> Finding:
        word_times = bool(self.model_conf.get("frame_loss_weight"))
        finding, self.utterances = check_directory(self.options.data, streams=self.streams, word_times=word_times)
        return finding

    def read_clips(self) -> Finding:
        return check_clips(self.utterances, streams=self.streams)

    def read_tokens(self) -> Finding:
        options = self.options
        kind = token_type_of(self.config, options.token_type, options.bpemodel)
        self.text = {"token_type": kind, "bpemodel": options.bpemodel}
        self.token_list, self.labels, made_here = write_token_list(
            self.config, options.data, self.folder, given=options.token_list, **self.text
        )
        tokens = list(read_lines(self.token_list))
        return check_tokens(self.labels, tokens, kind, made_here=made_here)

    def align(self) -> Finding:
        ctc_weight = self.model_conf.get("ctc_weight", CTC_WEIGHT)
        return check_ctc(self.labels, self.utterances, feature_rate=self.rate, ctc_weight=ctc_weight)

    def choose_device(self) -> None:
        from espnet_vivit.tasks.rehearsal.model import device_of

        self.device = device_of(self.options.device)

    def read_arguments(self) -> None:
        self.args = training_arguments(
            self.config,
            self.options.config,
            self.options.data,
            self.utterances,
            self.folder,
            trained=self.trained,
            token_list=self.token_list,
            on_gpu=self.device.type == "cuda",
            **self.text,
        )

    def build_model(self) -> Finding:
        import torch

        from espnet_vivit.tasks.avsr import AVSRTask
        from espnet_vivit.tasks.rehearsal.model import configured_optimizer, model_finding

        torch.manual_seed(self.args.seed)
        if self.trained:  # its vision tower is in its config.yaml: neither hub nor cache is needed
            model, _ = AVSRTask.build_model_from_file(self.options.config / "config.yaml", device=str(self.device))
        else:
            model = AVSRTask.build_model(self.args)
        self.model = model.to(self.device)
        self.optimizer = configured_optimizer(self.args, self.model)
        return model_finding(self.model)

    def learn_one_batch(self) -> Finding:
        import torch

        from espnet_vivit.tasks.rehearsal import model as rehearsal_model
        from espnet_vivit.tasks.rehearsal.batches import training_batches

        self.batches = training_batches(self.args)
        texts = {utterance.utt_id: utterance.text for utterance in self.utterances}
        chosen = rehearsal_model.clips_to_learn(self.batches, texts)
        batch = self.batches.load(chosen, self.device)
        trained = rehearsal_model.trained_parameters(self.model)
        optimizer = torch.optim.AdamW(trained, lr=self.options.lr, weight_decay=0.0)
        learnt = rehearsal_model.learn_by_heart(self.model, optimizer, batch, limit_s=self.options.seconds)
        return rehearsal_model.learnt_finding(learnt, len(chosen))

    def try_largest_batch(self) -> Finding:
        from espnet_vivit.tasks.rehearsal.model import largest_finding

        joined = bool(self.args.preprocessor_conf.get("join_prob"))
        return largest_finding(self.model, self.optimizer, self.batches, self.device, joined=joined)
