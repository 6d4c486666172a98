"""A model that cannot learn eight clips by heart has a fault somewhere: here it must, in under a minute."""

import time

import pytest
import torch

from tests.tiny import PIXELS, SAMPLES_PER_FRAME, VOCABULARY, tiny_e2e

TEXTS = ([1, 2, 3], [3, 2, 1], [4, 4], [5, 1, 5, 1], [2], [1, 3, 3, 4], [5, 4, 2], [4, 5])
FRAMES_PER_TOKEN = 4  # of which the last shows a closed mouth
END = VOCABULARY - 1
TIME_LIMIT_S = 60.0
STEPS = 400


def clip_of(text, generator):
    """A picture and a tone for each token, with noise, after two silent frames: (T, H, W) uint8 and (640 T,)."""
    video, speech = [torch.zeros(2, PIXELS, PIXELS)], [torch.zeros(2 * SAMPLES_PER_FRAME)]
    time_s = torch.arange(FRAMES_PER_TOKEN * SAMPLES_PER_FRAME) / (25 * SAMPLES_PER_FRAME)
    for token in text:
        picture = torch.rand(PIXELS, PIXELS, generator=torch.Generator().manual_seed(token)) * 200
        spoken = torch.ones(FRAMES_PER_TOKEN)
        spoken[-1:] = 0.0
        video.append(picture * spoken[:, None, None])
        speech.append(torch.sin(2 * torch.pi * 200 * token * time_s) * spoken.repeat_interleave(SAMPLES_PER_FRAME))
    video, speech = torch.cat(video), torch.cat(speech)
    video = (video + 10 * torch.rand(video.shape, generator=generator)).to(torch.uint8)
    return video, speech + 0.01 * torch.randn(speech.shape, generator=generator)


def eight_clips():
    """({stream: its arguments to `encode`}, the texts' arguments to `forward`)."""
    generator = torch.Generator().manual_seed(1)
    video, speech = zip(*(clip_of(text, generator) for text in TEXTS), strict=True)
    pad = torch.nn.utils.rnn.pad_sequence
    text = [torch.tensor(tokens) for tokens in TEXTS]
    streams = {
        name: {
            name: pad(list(values), batch_first=True),
            f"{name}_lengths": torch.tensor([len(value) for value in values]),
        }
        for name, values in (("video", video), ("speech", speech))
    }
    return streams, {
        "text": pad(text, batch_first=True, padding_value=-1),
        "text_lengths": torch.tensor([len(tokens) for tokens in text]),
    }


def read_by_ctc(model, states, lengths):
    """The best token of each step, repetitions joined, blanks dropped."""
    texts = []
    for row, length in zip(model.ctc.argmax(states), lengths, strict=True):
        joined = torch.unique_consecutive(row[:length]).tolist()
        texts.append([token for token in joined if token != 0])
    return texts


def read_by_attention(model, states, lengths):
    """One token after the other, each time the likeliest, until the end sign."""
    texts = []
    for row, length in zip(states, lengths, strict=True):
        given = [END]
        while len(given) < 10:
            prefix, size = torch.tensor([given]), torch.tensor([len(given)])
            logits, _ = model.decoder(row[None, :length], length[None], prefix, size)
            given.append(logits[0, -1].argmax().item())
            if given[-1] == END:
                break
        texts.append(given[1:-1] if given[-1] == END else given[1:])
    return texts


def read_all(model, streams):
    """{what was given: [texts by CTC, texts by attention]}: all streams, and each alone where there are two."""
    given = {"all": ("video", "speech")} | ({name: (name,) for name in streams} if len(streams) > 1 else {})
    texts = {}
    for what, names in given.items():
        states, lengths = model.encode(**{k: v for name in names for k, v in streams.get(name, {}).items()})
        texts[what] = [read_by_ctc(model, states, lengths), read_by_attention(model, states, lengths)]
    return texts


@pytest.mark.parametrize(
    ("modality", "fusion"),
    [
        ("video", "concat"),
        ("multimodal", "concat"),
        pytest.param("multimodal", "cross_attention", marks=pytest.mark.slow),
    ],
)
def test_eight_clips_are_learnt_by_heart_by_both_decoders_and_from_either_stream(modality, fusion):
    torch.manual_seed(0)
    dropout = {"modality_dropout": {"video": 0.3, "audio": 0.3}} if modality == "multimodal" else {}
    model = tiny_e2e(modality, fusion=fusion, **dropout)
    streams, text = eight_clips()
    if modality == "video":
        del streams["speech"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    start_s, read = time.process_time(), {}  # of this process alone: the machine may be busy with others
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss, _, _ = model.train()(**{k: v for stream in streams.values() for k, v in stream.items()}, **text)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if step % 20 == 0:
            with torch.no_grad():
                read = read_all(model.eval(), streams)
            if all(texts == [list(TEXTS)] * 2 for texts in read.values()):
                break
    assert read == {what: [list(TEXTS)] * 2 for what in read}
    assert len(read) == (1 if modality == "video" else 3)
    assert time.process_time() - start_s < TIME_LIMIT_S
