"""A batch that does not fit: named with what to change, or computed in halves with the same result."""

import json
from types import SimpleNamespace

import pytest
import torch

from espnet_vivit import E2E
from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import BatchTooLargeError
from espnet_vivit.espnet_compat import Trainer
from espnet_vivit.tasks.training.out_of_memory import BatchStream, Halving, cut, is_out_of_memory, weighted_sum
from espnet_vivit.tasks.training.trainer import AVSRTrainer
from tests import tiny
from tests.tasks.runs import command, write_corpus
from tests.tiny_corpus import write_config

LENGTHS = (9, 8, 7, 5)


def batch(count=4):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor(LENGTHS[:count])
    frames = int(lengths.max())
    return {
        "video": torch.randint(0, 256, (count, frames, 16, 16), dtype=torch.uint8, generator=generator),
        "video_lengths": lengths,
        "speech": torch.randn(count, frames * 640, generator=generator),
        "speech_lengths": lengths * 640,
        "text": torch.randint(1, 6, (count, 2), generator=generator),
        "text_lengths": torch.full((count,), 2),
        "utt_id": [f"u{number}" for number in range(count)],
    }


def model():
    torch.manual_seed(0)
    return tiny.tiny_e2e("multimodal", ctc_weight=0.3)


def hold_batch_norm(one):
    for module in one.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    return one


def too_large_for(monkeypatch, limit, where):
    """A device whose memory holds `limit` padded frames; more are refused in the forward or in the backward pass."""
    encode = E2E.encode
    sizes = []

    def limited(self, speech=None, speech_lengths=None, video=None, video_lengths=None, utt_id=None):
        size = video.shape[0] * video.shape[1]
        sizes.append(size)
        states, lengths = encode(self, speech, speech_lengths, video, video_lengths, utt_id)
        if size > limit and self.training and torch.is_grad_enabled():
            message = "CUDA out of memory. Tried to allocate 20.00 GiB.\nMore text"
            if where == "forward":
                raise torch.OutOfMemoryError(message)
            states.register_hook(lambda gradient: (_ for _ in ()).throw(torch.OutOfMemoryError(message)))
        return states, lengths

    monkeypatch.setattr(E2E, "encode", limited)
    return sizes


@pytest.mark.parametrize("pieces", [2, 4])
def test_halves_have_the_loss_and_the_gradients_of_the_whole(pieces):
    results = []
    for limit in (None, LENGTHS[0] * 4 // pieces):
        one = hold_batch_norm(model().train())
        halving = Halving(one)
        halving.limit = limit
        assert halving.pieces(batch()) == (1 if limit is None else pieces)
        loss, stats, weight = halving(**batch())
        loss.sum().backward()
        results.append((loss.detach(), {n: p.grad for n, p in one.named_parameters()}, stats["loss_ctc"], weight))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_of_three_utterances_two_fit_next_time():
    halving = Halving(model().train())
    halving.learn(["u0", "u1", "u2"], batch(3), "full")
    assert halving.limit == 2 * LENGTHS[0] and halving.pieces(batch(3)) == 2


def test_a_piece_of_two_utterances_counts_twice():
    answers = [
        (torch.tensor([1.0]), {"acc": 0.0}, torch.tensor([2])),
        (torch.tensor([4.0]), {"acc": 1.0}, torch.tensor([1])),
    ]
    loss, stats, weight = weighted_sum(answers)
    assert loss.tolist() == [2.0] and weight.tolist() == [3] and float(stats["acc"]) == pytest.approx(1 / 3)


def test_losses_that_are_not_finite_are_counted_in_one_place_after_a_second_run_too():
    one = model().train()
    counted, halving = one.non_finite, Halving(one)
    halving.limit = LENGTHS[0]
    halving(**batch())[0].sum().backward()
    assert one.non_finite is counted


def test_each_piece_keeps_its_own_graph_only_while_it_is_computed():
    one = model().train()
    halving = Halving(one)
    halving.limit = LENGTHS[0]
    runs = []
    one.encoder.register_forward_pre_hook(lambda module, inputs: runs.append(len(inputs[0])))
    loss, _, _ = halving(**batch())
    assert runs == [1, 1, 1, 1]
    loss.sum().backward()
    assert len(runs) == 8  # the backward pass has computed each again


def test_pieces_are_cut_to_their_longest_clip():
    part = cut(batch(), 2, 4)
    assert part["video"].shape[:2] == (2, 7) and part["speech"].shape == (2, 7 * 640) and part["utt_id"] == ["u2", "u3"]


def test_a_single_clip_that_does_not_fit_ends_the_training():
    halving = Halving(model().train())
    with pytest.raises(
        BatchTooLargeError, match=r"1 utterances × 9 frames \(u0\): full; it was computed one utterance"
    ):
        halving.learn(["u0"], batch(1), "full")


def test_a_batch_can_be_given_back():
    stream = BatchStream([(["a"], {}), (["b"], {})])
    seen = [next(stream)]
    stream.give_back()
    assert [*seen, *stream] == [(["a"], {}), (["a"], {}), (["b"], {})] and len(stream) == 2


class NoRoomToLoad:
    """Batches of which only so many can be loaded."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches) + 1

    def __iter__(self):
        yield from self.batches
        raise MemoryError("no room for a clip")


@pytest.mark.parametrize("loaded", [[], [(["a"], batch(1))]], ids=["first", "later"])
def test_running_out_of_memory_while_loading_is_blamed_on_no_batch(loaded, monkeypatch):
    monkeypatch.setattr(Trainer, "train_one_epoch", lambda *, iterator, **rest: list(iterator))
    report = SimpleNamespace(train_progress=lambda batches, reporter: batches)
    trainer = type("OneRun", (AVSRTrainer,), {"report": report})
    given = dict.fromkeys(("schedulers", "scaler", "summary_writer", "distributed_option"))
    given |= {"model": model(), "iterator": NoRoomToLoad(loaded), "optimizers": []}
    reporter, options = SimpleNamespace(get_epoch=lambda: 1), SimpleNamespace(on_out_of_memory="halve")
    with pytest.raises(MemoryError, match="no room for a clip"):
        trainer.train_one_epoch(**given, reporter=reporter, options=options)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you"),
            True,
        ),
        (MemoryError(), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, is_one):
    assert is_out_of_memory(error) is is_one


def test_pytorch_says_so_in_these_words_on_the_cpu():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


# --- through ESPnet's trainer ---


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("memory") / "corpus")


def train(corpus, folder, **changes):
    config = write_config(folder / "train.yaml", **{"max_epoch": 1, "batch_frames": 120, "max_padding": 0.9, **changes})
    avsr_train.main(command(corpus, folder / "exp", config))
    return torch.load(folder / "exp/1epoch.pth", weights_only=True)


def test_the_message_names_the_batch_and_what_to_change(corpus, tmp_path, monkeypatch):
    too_large_for(monkeypatch, 90, "forward")
    with pytest.raises(BatchTooLargeError) as raised:
        train(corpus, tmp_path)
    message = str(raised.value)
    assert "out of memory in a batch of 4 utterances × 2" in message and "s0-train" in message
    assert "CUDA out of memory. Tried to allocate 20.00 GiB" in message and "More text" not in message
    for remedy in ("batch_frames", "accum_grad", "gradient_checkpointing", "amp_dtype: bfloat16", "qlora", "halve"):
        assert remedy in message


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_halved_batches_train_to_the_end(corpus, tmp_path, monkeypatch, where, caplog):
    sizes = too_large_for(monkeypatch, 60, where)
    weights = train(corpus, tmp_path, on_out_of_memory="halve")
    assert caplog.text.count("from here on at most") == 1  # a larger batch that comes later is cut from the start
    *trained, _ = sizes  # and the validation
    assert sum(size > 60 for size in trained) == 1 and sum(size <= 60 for size in trained) >= 8
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())
    (entry,) = [json.loads(line) for line in (tmp_path / "exp/log.jsonl").read_text().splitlines()]
    assert entry["train"]["loss"] > 0 and entry["train"]["grad_norm"] > 0


def test_errors_of_another_kind_pass(corpus, tmp_path, monkeypatch):
    def broken(self, *args, **kwargs):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(E2E, "encode", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(corpus, tmp_path, on_out_of_memory="halve")
