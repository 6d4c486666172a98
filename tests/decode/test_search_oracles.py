"""The beam search against enumeration: argmax decoding, and what a language model changes."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
import yaml

from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.decode.witten_bell import arpa_lines, train_witten_bell
from espnet_vivit.tasks.avsr import AVSRTask
from tests.tiny import randomize
from tests.tiny_corpus import TOKENS, WORDS, write_config

VIDEO = np.random.default_rng(0).integers(0, 256, (12, 22, 22), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    config = write_config(folder / "train.yaml", audio_encoder=..., model_conf={"ctc_weight": 0.3})
    args = AVSRTask.get_parser().parse_args(["--config", str(config)])
    args.token_list = list(TOKENS)
    torch.manual_seed(0)
    model = randomize(AVSRTask.build_model(args), std=0.3)
    (folder / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    torch.save(model.state_dict(), folder / "model.pth")
    return folder / "config.yaml", folder / "model.pth"


def argmax_decoding(model, states: torch.Tensor, longest: int) -> list[int]:
    """The decoder's most probable token after each other, the blank left out, until the end."""
    given = [model.sos]
    while len(given) <= longest:
        logits, _ = model.decoder(
            states, torch.tensor([states.size(1)]), torch.tensor([given]), torch.tensor([len(given)])
        )
        logits[0, -1, model.blank_id] = -torch.inf
        given.append(int(logits[0, -1].argmax()))
        if given[-1] == model.eos:
            break
    return [token for token in given[1:] if token != model.eos]


@pytest.mark.parametrize("seed", range(4))
def test_attention_alone_with_one_beam_is_argmax_decoding(files, seed):
    speech2text = Speech2Text(*files, ctc_weight=0.0, beam_size=1)
    model = speech2text.asr_model
    torch.manual_seed(seed)
    with torch.no_grad():
        randomize(model.decoder, std=0.4)
        model.decoder.output_layer.bias[model.eos] += 1.0  # so that some end before the bound
    states, _ = model.encode(video=torch.tensor(VIDEO[None]), video_lengths=torch.tensor([12]))
    ((_, _, ids, _),) = speech2text(video=VIDEO)
    assert ids == argmax_decoding(model, states, longest=12)


def test_an_n_gram_decides_where_the_model_does_not_care(files, tmp_path):
    """With the decoder and CTC made indifferent, the best hypothesis is the n-grams' own best sentence."""
    sentences = [["bin", "red", "now"]] * 9 + [["set", "blue"]]
    ngrams = train_witten_bell(sentences, ["<unk>", *WORDS], order=3)
    (tmp_path / "3gram.arpa").write_text("\n".join(arpa_lines(ngrams)))
    # the bonus for a token is what an indifferent decoder takes for it, or short sentences would always win
    options = {"beam_size": 4, "ctc_weight": 0.0, "penalty": float(np.log(len(TOKENS)))}
    plain = Speech2Text(*files, **options)
    helped, off = (
        Speech2Text(*files, **options, ngram_file=tmp_path / "3gram.arpa", ngram_weight=weight) for weight in (1.0, 0.0)
    )
    assert "ngram" in helped.beam_search.scorers and "ngram" not in off.beam_search.scorers
    for speech2text in (plain, helped, off):
        torch.nn.init.zeros_(speech2text.asr_model.decoder.output_layer.weight)
        torch.nn.init.zeros_(speech2text.asr_model.decoder.output_layer.bias)
    ((text, _, ids, hypothesis),) = helped(video=VIDEO)
    assert text == "bin red now" != plain(video=VIDEO)[0][0]
    history, language = ["<s>"], 0.0
    for token in [*(TOKENS[number] for number in ids), "</s>"]:
        language += ngrams.log_prob(history, token)
        history.append(token)
    assert float(hypothesis.score) == pytest.approx(language, abs=1e-3)
    assert off(video=VIDEO)[0][0] == plain(video=VIDEO)[0][0]


@pytest.mark.parametrize("seed", range(3))
def test_ctc_with_n_grams_finds_the_best_of_all_label_sequences(files, tmp_path, seed):
    """CTC's own loss over all alignments plus the n-grams' log-probability, of every sequence that fits four steps."""
    sentences = [["bin", "red"], ["set", "blue", "now"], ["lay"]]
    ngrams = train_witten_bell(sentences, ["<unk>", *WORDS], order=2)
    (tmp_path / "2gram.arpa").write_text("\n".join(arpa_lines(ngrams)))
    options = {"ctc_weight": 1.0, "ngram_file": tmp_path / "2gram.arpa", "ngram_weight": 0.7}
    speech2text = Speech2Text(*files, **options, beam_size=len(TOKENS))
    model = speech2text.asr_model
    torch.manual_seed(seed)
    with torch.no_grad():
        randomize(model.ctc.ctc_lo, std=0.6)
        model.ctc.ctc_lo.bias[model.eos] = -30.0  # training never says it; enumeration would have to count it
    states, _ = model.encode(video=torch.tensor(VIDEO[None, :4]), video_lengths=torch.tensor([4]))
    log_probs = model.ctc.log_softmax(states).transpose(0, 1).detach()  # (4, 1, V)
    scores = {}
    for length in range(5):
        every = [ids for ids in product(range(1, model.eos), repeat=length)]
        every = [ids for ids in every if length + sum(a == b for a, b in pairwise(ids)) <= 4]
        targets = torch.tensor(every, dtype=torch.long).reshape(len(every), length)
        sizes = (torch.full((len(every),), 4), torch.full((len(every),), length))
        losses = torch.nn.functional.ctc_loss(
            log_probs.expand(-1, len(every), -1).contiguous(), targets, *sizes, reduction="none"
        )
        for ids, loss in zip(every, losses.tolist(), strict=True):
            names = ["<s>", *(TOKENS[number] for number in ids), "</s>"]
            language = sum(ngrams.log_prob(names[:i], names[i]) for i in range(1, len(names)))
            scores[ids] = -loss + 0.7 * language
    best = max(scores, key=scores.get)
    _, _, ids, hypothesis = speech2text(video=VIDEO[:4])[0]
    assert tuple(ids) == best and float(hypothesis.score) == pytest.approx(scores[best], abs=1e-3)


def test_what_ends_at_the_length_bound_has_one_end_and_is_there_once(files):
    """ESPnet's search would give such hypotheses two ends, the first of them among the words."""
    speech2text = Speech2Text(*files, ctc_weight=0.0, beam_size=len(TOKENS), maxlenratio=-2.0, nbest=99)
    end = speech2text.asr_model.eos
    with torch.no_grad():
        speech2text.asr_model.decoder.output_layer.bias[end] += 3.0
    results = speech2text(video=VIDEO)
    assert {len(ids) for _, _, ids, _ in results} == {0, 1, 2}  # what ended before, in, and what was cut by the bound
    assert all("<sos/eos>" not in text and end not in ids for text, _, ids, _ in results)
    assert all(hypothesis.yseq.tolist() == [end, *ids, end] for _, _, ids, hypothesis in results)
    sentences = [tuple(ids) for _, _, ids, _ in results]
    assert len(sentences) == len(set(sentences)) > 1
