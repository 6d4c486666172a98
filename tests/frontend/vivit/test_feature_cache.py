"""Features of a frozen tower on disk: computed once, never stale, never damaged, never more than the bound."""

import logging
import os
from pathlib import Path

import pytest
import torch

from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.frontend.vivit.feature_cache import FeatureCache
from tests.tiny import HIDDEN, PIXELS, gray_clip, raw_clip, tiny_vivit

LENGTHS = torch.tensor([21, 5, 8])
CLIP_BYTES = 2 * HIDDEN * 4 + 32  # of an entry of 2 steps, float32, with its checksum


@pytest.fixture
def video():
    return torch.randn(3, 21, PIXELS, PIXELS)


def cached(folder, **options):
    """A frozen encoder with a cache, always with the same weights unless the options say otherwise."""
    torch.manual_seed(3)
    options = {"frame_adjust": "window", "window_overlap": 4, **options}
    return tiny_vivit(frozen=True, feature_cache=str(folder), **options)


@pytest.fixture
def computed(monkeypatch):
    """Counts the windows that any encoder computes from here on."""
    from espnet_vivit.frontend.vivit_encoder import VivitEncoder

    windows = []
    encode = VivitEncoder._encode

    def count(self, batch):
        windows.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(VivitEncoder, "_encode", count)
    return windows


def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_tower_built_in_inference_mode_is_cached_too(tmp_path, computed, video):
    with torch.inference_mode():
        encoder = cached(tmp_path)
        first, _ = encoder(video, LENGTHS)
        computed.clear()
        assert torch.equal(encoder(video, LENGTHS)[0], first) and not computed


@pytest.mark.parametrize("frame_adjust", ["window", pytest.param("sample", id="sample")])
@pytest.mark.parametrize("rate", ["tubelet", "frame"])
@pytest.mark.filterwarnings("ignore:frame_adjust=.sample.:UserWarning")
def test_the_second_pass_computes_nothing_and_gives_the_same(tmp_path, computed, video, frame_adjust, rate):
    options = {"frame_adjust": frame_adjust, "feature_rate": rate, "output_dim": 6}
    encoder = cached(tmp_path, **options)
    first, lengths = encoder(video, LENGTHS)
    assert computed
    computed.clear()
    again, same_lengths = encoder(video, LENGTHS)
    assert not computed
    assert torch.equal(again, first) and torch.equal(same_lengths, lengths)
    restarted = cached(tmp_path, **options)
    restarted.load_state_dict(encoder.state_dict())
    assert torch.equal(restarted(video, LENGTHS)[0], first)
    assert not computed, "a new process would have computed everything again"
    without = tiny_vivit(**{"window_overlap": 4, **options})
    without.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(without(video, LENGTHS)[0], first, atol=1e-5, rtol=0)


def test_hits_and_misses_are_counted(tmp_path, video):
    encoder = cached(tmp_path)
    encoder(video, LENGTHS)
    encoder(video[1:], LENGTHS[1:])
    assert (encoder.feature_cache.hits, encoder.feature_cache.misses) == (2, 3)
    assert encoder.feature_cache.last_hits == 1
    encoder(video.flip(0), LENGTHS.flip(0) - torch.tensor([0, 0, 1]))
    assert encoder.feature_cache.last_hits == pytest.approx(2 / 3)


def test_only_what_is_unknown_is_computed(tmp_path, computed, video):
    encoder = cached(tmp_path)
    encoder(video[:1], LENGTHS[:1])
    known = sum(computed)
    computed.clear()
    mixed, _ = encoder(video, LENGTHS)
    assert sum(computed) == 2, "one window each for the two new clips"
    assert known == 4
    torch.testing.assert_close(mixed, cached(tmp_path / "other")(video, LENGTHS)[0], atol=1e-5, rtol=0)


def test_padding_is_no_part_of_the_key(tmp_path, computed, video):
    encoder = cached(tmp_path)
    encoder(video, LENGTHS)
    computed.clear()
    video[1, 5:] = torch.nan
    encoder(torch.nn.functional.pad(video, (0, 0, 0, 0, 0, 7), value=9.0), LENGTHS)
    assert not computed


def test_the_layers_behind_the_tower_still_train(tmp_path, video):
    encoder = cached(tmp_path, output_dim=6, feature_rate="frame").train()
    for _ in range(2):
        encoder.zero_grad()
        features, _ = encoder(video, LENGTHS)
        features.square().sum().backward()
        assert encoder.projection.weight.grad.any() and encoder.upsample.linear.weight.grad.any()
    with torch.no_grad():
        encoder.projection.bias += 1.0
    assert not torch.allclose(encoder(video, LENGTHS)[0], features), "the cache kept what the projection gave"


def one_pixel(encoder, clip):
    clip[0, 3, 2, 1] += 1
    return encoder, clip


def one_weight(encoder, clip):
    with torch.no_grad():
        encoder.vivit.layers[0].mlp.fc1.bias[3] += 1e-3
    return encoder, clip


def loaded_weights(encoder, clip):
    """Loaded into the tower itself, behind the encoder's back."""
    state = {name: value + 0.01 for name, value in encoder.vivit.state_dict().items()}
    encoder.vivit.load_state_dict(state)
    return encoder, clip


def half_precision(encoder, clip):
    return encoder.bfloat16(), clip


def another_dtype_of_the_clip(encoder, clip):
    return encoder, clip.double()


def autocast(encoder, clip):
    forward = encoder.forward
    encoder.forward = lambda *args: torch.autocast("cpu", torch.bfloat16)(forward)(*args)
    return encoder, clip


@pytest.mark.parametrize(
    "change",
    [one_pixel, one_weight, loaded_weights, half_precision, another_dtype_of_the_clip, autocast],
    ids=lambda change: change.__name__,
)
def test_whatever_changes_the_features_changes_the_key(tmp_path, computed, change):
    encoder, clip = cached(tmp_path), gray_clip(8)[None]
    encoder(clip)
    encoder, clip = change(encoder, clip)
    computed.clear()
    encoder(clip)
    assert computed == [1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (gray_clip(3)[None], lambda clip: clip[:, :, None]),
        (gray_clip(8)[None].half(), lambda clip: clip.abs().clamp(max=1).view(torch.bfloat16)),
    ],
    ids=["gray frames as the colors of one", "bits of another dtype"],
)
def test_equal_bytes_that_mean_something_else_are_another_entry(tmp_path, computed, one, other):
    encoder = cached(tmp_path)
    one = one.abs().clamp(max=1)
    encoder(one)
    computed.clear()
    encoder(other(one))
    assert computed == [1]


@pytest.mark.parametrize(
    "option",
    [
        {"temporal_pooling": "max"},
        {"window_overlap": 2},
        {"frame_adjust": "sample"},
        {"normalization": "huggingface"},
        {"config": {"layer_norm_eps": 1e-3}},
    ],
    ids=lambda option: next(iter(option)),
)
@pytest.mark.filterwarnings("ignore:frame_adjust=.sample.:UserWarning")
def test_other_options_are_other_entries(tmp_path, computed, option):
    clip = raw_clip(12)[None]
    cached(tmp_path)(clip)
    computed.clear()
    cached(tmp_path, **option)(clip)
    assert computed


def test_options_that_change_no_feature_share_the_entries(tmp_path, computed):
    clip = raw_clip(12)[None]
    first, second = cached(tmp_path), cached(tmp_path, max_windows=1, output_dim=3, feature_rate="frame")
    second.vivit.load_state_dict(first.vivit.state_dict())
    first(clip)
    computed.clear()
    assert second(clip).shape == (1, 12, 3)
    assert not computed


def test_the_odd_last_frame_makes_a_step_of_one_rate_and_none_of_the_other(tmp_path):
    """The same frames and tower, another number of steps: two entries."""
    clip, tower = raw_clip(13)[None], cached(tmp_path).vivit.state_dict()
    for rate in ("frame", "tubelet"):
        shared, alone = (cached(tmp_path / folder, feature_rate=rate) for folder in ("shared", f"alone_{rate}"))
        for encoder in (shared, alone):
            encoder.vivit.load_state_dict(tower)
        assert torch.equal(shared(clip), alone(clip))


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_entry_is_found_told_and_rebuilt(tmp_path, computed, caplog, damage):
    encoder, clip = cached(tmp_path), gray_clip(8)[None]
    expected = encoder(clip)
    (path,) = entries(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[40] ^= 1
    path.write_bytes({"flipped": bytes(content), "cut": bytes(content[:-4]), "empty": b""}[damage])
    computed.clear()
    with caplog.at_level(logging.WARNING):
        assert torch.equal(encoder(clip), expected)
    assert computed == [1] and encoder.feature_cache.damaged == 1
    assert str(path) in caplog.text and "damaged" in caplog.text
    computed.clear()
    assert torch.equal(encoder(clip), expected)
    assert not computed, "the rebuilt entry was not kept"


def test_an_interrupted_write_is_no_entry(tmp_path, computed, monkeypatch):
    encoder, clip = cached(tmp_path), gray_clip(8)[None]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            encoder(clip)
    assert not entries(tmp_path), "half an entry was left behind"
    computed.clear()
    encoder(clip)
    assert computed == [1]


def test_an_entry_that_does_not_fit_on_the_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def full(path, data):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MediaError, match=rf"cannot write {tmp_path}/.*\.steps .*No space left"):
        cached(tmp_path)(gray_clip(8)[None])
    assert not entries(tmp_path)


def test_others_who_share_the_folder_may_read_its_entries(tmp_path):
    before = os.umask(0o022)
    try:
        cached(tmp_path)(gray_clip(8)[None])
    finally:
        os.umask(before)
    (path,) = entries(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o644


# the bound ---------------------------------------------------------------------------------------------------------


def steps_of(clips, frames, counts):
    """What a tower might compute: two steps per clip, named by its first pixel."""
    return torch.stack([clips[b, 0, 0, 0, 0].expand(2, HIDDEN) for b in range(len(frames))])


def clip_named(number):
    return torch.full((1, 1, 4, 2, 2), float(number))


def look_up(cache, number):
    (steps,) = cache.lookup(clip_named(number), [4], [2], steps_of)
    assert torch.equal(steps, torch.full((2, HIDDEN), float(number)))


def test_the_folder_stays_within_its_bound_and_the_least_recently_used_go_first(tmp_path):
    cache = FeatureCache(str(tmp_path), lambda: "tower", max_bytes=10 * CLIP_BYTES)
    for number in range(10):
        look_up(cache, number)
        os.utime(next(iter(newest(tmp_path))), ns=(number * 10**9,) * 2)  # file systems may count time coarsely
    assert cache.misses == 10 and len(entries(tmp_path)) == 10
    look_up(cache, 0)  # used again: now the youngest
    assert cache.hits == 1
    look_up(cache, 10)
    size = sum(path.stat().st_size for path in entries(tmp_path))
    assert 8 * CLIP_BYTES <= size <= 10 * CLIP_BYTES
    look_up(cache, 0)
    look_up(cache, 9)
    assert cache.misses == 11, "a recently used entry was dropped"
    look_up(cache, 1)
    assert cache.misses == 12, "the least recently used entry was kept"


def newest(folder):
    return sorted(entries(folder), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def test_what_lies_in_the_folder_already_counts(tmp_path):
    first = FeatureCache(str(tmp_path), lambda: "tower", max_bytes=100 * CLIP_BYTES)
    for number in range(20):
        look_up(first, number)
    second = FeatureCache(str(tmp_path), lambda: "tower", max_bytes=5 * CLIP_BYTES)
    look_up(second, 99)
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 5 * CLIP_BYTES
    look_up(second, 99)
    assert second.hits == 1, "the newest entry was dropped"


def processes(monkeypatch, count):
    """As many as a distributed training would have, all in this one."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: count)


def test_the_processes_of_a_training_keep_the_bound_together(tmp_path, monkeypatch):
    processes(monkeypatch, 8)
    bound = 40 * CLIP_BYTES
    caches = [FeatureCache(str(tmp_path), lambda: "tower", max_bytes=bound) for _ in range(8)]
    sizes = []
    for step in range(20):
        for rank, cache in enumerate(caches):
            look_up(cache, step * 8 + rank)
        sizes.append(sum(path.stat().st_size for path in entries(tmp_path)))
    assert max(sizes) <= bound
    assert min(sizes[5:]) > bound / 2, "room was left unused"


def test_what_an_earlier_training_left_is_kept_whatever_the_number_of_processes(tmp_path, monkeypatch):
    alone = FeatureCache(str(tmp_path), lambda: "tower", max_bytes=40 * CLIP_BYTES)
    for number in range(30):
        look_up(alone, number)
    processes(monkeypatch, 8)
    resumed = FeatureCache(str(tmp_path), lambda: "tower", max_bytes=40 * CLIP_BYTES)
    for number in range(40):
        look_up(resumed, number)
    assert (resumed.hits, resumed.misses) == (30, 10) and len(entries(tmp_path)) == 40


def test_what_is_just_being_written_is_not_dropped(tmp_path):
    (tmp_path / "aa").mkdir()
    writing = tmp_path / "aa/.bb.123.part.steps"
    writing.write_bytes(bytes(100 * CLIP_BYTES))
    os.utime(writing, ns=(0, 0))
    cache = FeatureCache(str(tmp_path), lambda: "tower", max_bytes=2 * CLIP_BYTES)
    for number in range(3):
        look_up(cache, number)
    assert writing.exists() and len(entries(tmp_path)) == 2  # it, and the last one


def test_entries_that_another_worker_drops_meanwhile_do_no_harm(tmp_path, monkeypatch):
    cache = FeatureCache(str(tmp_path), lambda: "tower", max_bytes=2 * CLIP_BYTES)
    look_up(cache, 0)
    glob, read = Path.glob, Path.read_bytes
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [*glob(self, pattern), tmp_path / "aa" / "dropped.steps"])
    for number in range(1, 4):
        look_up(cache, number)  # the third does not fit any more: the folder is looked through

    def read_and_drop(self):
        content = read(self)
        self.unlink()
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_drop)
    look_up(cache, 3)
    assert cache.hits == 1
    FeatureCache(str(tmp_path), lambda: "tower")


def test_a_cache_needs_a_frozen_tower(tmp_path):
    with pytest.raises(ConfigError, match=r"found frozen=False; expected frozen=True. Set frozen: true, or leave"):
        tiny_vivit(feature_cache=str(tmp_path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match=r"feature_cache is not a folder that can be written: .*file"):
        cached(tmp_path / "file" / "cache")
