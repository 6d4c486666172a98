"""The beam search against ESPnet's own over the same random models: seconds, the largest difference, the same tokens.

    python benchmarks/search.py [--rounds 3] [--large_only]

One clip, one thread, seconds of processor time, both searches in turns in one process. A model with random weights
neither ends nor stops by itself, so that both searches get the same number of steps (`maxlenratio`); the states that
are searched are a random Conformer's of random features. "decode": encoder (without its visual frontend) and search
together. The ratios are medians over the rounds; the last line is that of the largest model.
"""

import argparse
import logging
import statistics
from dataclasses import dataclass

import torch
from measure import in_turns, machine, paired_ratio

from espnet_vivit.decode.beam_search import BeamSearch
from espnet_vivit.e2e_asr_conformer import E2E
from espnet_vivit.espnet_compat import BatchBeamSearch, BatchScorerInterface, CTCPrefixScorer, TransformerLM


@dataclass(frozen=True)
class Case:
    """A model and a search; `width` 768 is the size of Auto-AVSR's published models."""

    width: int
    heads: int
    linear_units: int
    vocabulary: int
    encoder_steps: int
    beam_size: int
    tokens: int
    lm_layers: int = 0

    def __str__(self) -> str:
        return f"{self.width} x {self.heads} heads, V {self.vocabulary}" + (", LM" if self.lm_layers else "")


CASES = (
    Case(256, 4, 2048, 41, 75, 10, 30),
    Case(256, 4, 2048, 5049, 75, 10, 20),
    Case(768, 12, 3072, 5049, 60, 10, 12),
    Case(768, 12, 3072, 5049, 120, 40, 22, lm_layers=16),
    Case(768, 12, 3072, 5049, 120, 40, 22),
)
CTC_WEIGHT, LM_WEIGHT = 0.1, 0.3
HEAD = (
    "| model | beam | T | tokens | encoder s | ESPnet's search s | ours s | ratio | decode | difference | same |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


class NoBlank(BatchScorerInterface):
    """Keep the CTC blank out of hypotheses in ESPnet's search; ours never proposes it."""

    def __init__(self, vocabulary: int, device: str):
        self.scores = torch.zeros(vocabulary, device=device)
        self.scores[0] = -torch.inf

    def batch_score(self, ys, states, xs):
        return self.scores.expand(len(ys), -1), states


def build(case: Case, device: str) -> tuple[E2E, BeamSearch, BatchBeamSearch]:
    """(model, our search, ESPnet's)"""
    torch.manual_seed(0)
    sizes = {"attention_heads": case.heads, "linear_units": case.linear_units}
    model = E2E(
        case.vocabulary,
        vision_encoder="resnet",
        encoder_conf={"output_size": case.width, "num_blocks": 12, **sizes},
        decoder_conf={"num_blocks": 6, **sizes},
    )
    model = model.to(device).eval()
    scorers = {"decoder": model.decoder, "ctc": model.ctc}
    weights = {"decoder": 1 - CTC_WEIGHT, "ctc": CTC_WEIGHT}
    if case.lm_layers:
        options = {"embed_unit": 128, "att_unit": 512, "head": 8, "unit": 2048, "layer": case.lm_layers}
        scorers["lm"], weights["lm"] = TransformerLM(case.vocabulary, **options).to(device).eval(), LM_WEIGHT
    options = {"beam_size": case.beam_size, "sos": model.sos, "eos": model.eos}
    ours = BeamSearch(scorers, weights, vocabulary=case.vocabulary, **options)
    theirs = {
        **scorers,
        "ctc": CTCPrefixScorer(ctc=model.ctc, eos=model.eos),
        "no_blank": NoBlank(case.vocabulary, device),
    }
    weights = {**weights, "no_blank": 1.0}
    espnet = BatchBeamSearch(theirs, weights, vocab_size=case.vocabulary, pre_beam_score_key="full", **options)
    return model, ours, espnet.to(device).eval()


@torch.no_grad()
def compare(case: Case, rounds: int, *, device: str = "cpu") -> tuple[str, float, float]:
    """(a row of the table, how many times faster the search is, and the whole decoding)"""
    model, ours, espnet = build(case, device)
    features = torch.randn(1, case.encoder_steps, case.width, device=device)
    lengths = torch.tensor([case.encoder_steps], device=device)
    states = model.encoder(features, lengths)[0]
    bound = (-float(case.tokens), 0.0)
    found = {}

    def encode():
        model.encoder(features, lengths)

    def search_espnet():
        found["espnet"] = [(h.yseq.tolist()[: case.tokens + 1], float(h.score)) for h in espnet(states[0], *bound)]

    def search_ours():
        found["ours"] = [
            (h.yseq.tolist()[: case.tokens + 1], h.score) for h in ours(states, lengths, ratios=[bound])[0]
        ]

    rows = {"encoder": encode, "espnet": search_espnet, "ours": search_ours}
    seconds = in_turns(rows, rounds, device=device)
    both = list(zip(found["espnet"], found["ours"], strict=True))
    same = sum(a == b for (a, _), (b, _) in both)
    difference = max(abs(a - b) for (_, a), (_, b) in both)
    ratio = paired_ratio(seconds["espnet"], seconds["ours"])
    decode = [
        [encoder + search for encoder, search in zip(seconds["encoder"], seconds[of], strict=True)] for of in rows
    ]
    whole = paired_ratio(decode[1], decode[2])
    times = " | ".join(f"{statistics.median(seconds[of]):.2f}" for of in rows)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    row = (
        f"| {parameters:.0f} M, {case} | {case.beam_size} | {case.encoder_steps} | {case.tokens} | {times} | "
        f"{ratio:.1f} | {whole:.1f} | {difference:.1e} | {same} of {len(both)} |"
    )
    return row, ratio, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each search that are counted")
    parser.add_argument("--large_only", action="store_true", help="the largest model alone")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # ESPnet's, on every hypothesis that is cut at the bound
    torch.set_num_threads(1)
    print(f"{machine()}, torch {torch.__version__}, one thread, CTC weight {CTC_WEIGHT}, LM weight {LM_WEIGHT}\n")
    print(HEAD)
    for case in CASES[-1:] if options.large_only else CASES:
        row, ratio, whole = compare(case, options.rounds)
        print(row, flush=True)
    print(f"\nlargest model: search {ratio:.1f} times as fast as ESPnet's, decoding {whole:.1f} times")


if __name__ == "__main__":
    main()
