"""The local page: what it shows, what it refuses, what it leaves behind; and the page itself in a real browser."""

import importlib.util
import os
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from espnet_vivit.decode.word_times import Word
from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.frontend.linear import LinearFrontend
from espnet_vivit.frontend.vivit_encoder import vivit_encoder
from espnet_vivit.media.files.video_file import probe_video, read_video
from espnet_vivit.transcription.cutting import Stretch
from espnet_vivit.transcription.page import page
from espnet_vivit.transcription.page.example_clips import render_examples, write_spoken_video
from espnet_vivit.transcription.page.page import (
    ADDRESS,
    SHOWN_S,
    PageReader,
    _keep,
    seen_and_looked_at,
    served_page,
    words_html,
)
from espnet_vivit.transcription.result import OK, UNCLEAR, Piece, Transcription
from tests.reader import write_reader

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def piece(*words: Word, status: str = OK, reasons: tuple[str, ...] = ()) -> Piece:
    return Piece(0.0, 2.0, status, reasons, 0.5, "video", words, ())


def test_words_are_colored_by_confidence_and_carry_their_times():
    result = Transcription("a.mp4", 2.0, (piece(Word("bin", 0.5, 0.75, 1.0), Word("blue", 0.75, 1.0, 0.0)),))
    shown = words_html(result)
    assert 'hsl(120 75% 82%)" title="0.50–0.75 s, confidence 1.00">bin<' in " ".join(shown.split())
    assert 'hsl(0 75% 82%)" title="0.75–1.00 s, confidence 0.00">blue<' in " ".join(shown.split())
    assert 'data-verdict="ok"' in shown


def test_what_is_unclear_says_why_and_text_is_no_markup():
    pieces = (piece(status=UNCLEAR, reasons=("black pictures",)), piece(Word("<b>", 0.0, 1.0, 0.9)))
    shown = words_html(Transcription("a.mp4", 2.0, pieces))
    assert "0.0–2.0 s, unclear: black pictures" in shown
    assert "&lt;b&gt;" in shown and "<b>" not in shown
    assert "nothing was found" in words_html(Transcription("a.mp4", 0.0, ()))


def test_a_vivit_shows_where_it_looked_and_others_what_they_saw():
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 32), dtype=np.uint8)
    config = {"tubelet_size": [2, 16, 16], "hidden_size": 16, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    vivit = vivit_encoder(
        pretrained=False, image_size=32, num_frames=8, window_overlap=2, frame_adjust="window", config=config
    )
    shown = seen_and_looked_at(vivit.eval(), frames)
    assert shown.shape == (9, 32, 64, 3)
    assert (shown[:, :, :32] == frames[..., None]).all()
    assert (shown[:, :, 32:] != shown[:, :, :32]).any()
    linear = LinearFrontend(image_size=32, output_dim=8).eval()
    assert (seen_and_looked_at(linear, frames) == frames).all()


def test_clips_of_the_page_play_with_their_sound(tmp_path):
    if importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("espeakng-loader is not installed")
    (path,) = render_examples(tmp_path, count=1)
    info = probe_video(path)
    assert (info.height, info.width, info.has_audio, info.codec) == (96, 96, True, "h264")
    assert len(path.stem.split("_")) == 6  # named by its sentence


def test_gray_levels_survive_the_clip(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (3, 32, 1))
    write_spoken_video(tmp_path / "ramp.mp4", ramp)
    assert np.abs(read_video(tmp_path / "ramp.mp4").astype(int) - ramp).mean() < 2


class SaysNothing:
    """A transcriber, as far as PageReader asks, that finds `frames` pictures in any file, 20 s at a time."""

    frames = 50

    def __init__(self, model, **options):
        self.recognizer = SimpleNamespace(modality="audio")
        self.read = 0

    def transcribe(self, path, *, on_stretch):
        for first in range(0, self.frames, 500):
            self.read = min(first + 500, self.frames)
            on_stretch(Stretch(first, None, np.zeros((self.read - first) * 640, np.float32)))
        return Transcription(str(path), self.read / 25, (piece(Word("bin", 0.5, 0.75, 1.0)),), {"total": 0.1})


@pytest.fixture
def silent_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "Transcriber", SaysNothing)
    np.save(tmp_path / "clip.npy", np.zeros((50, 8, 8), np.uint8))
    (tmp_path / "results").mkdir()
    return PageReader("no model", tmp_path / "results", max_s=30.0)


def test_results_older_than_an_hour_are_deleted_and_nothing_else(silent_reader, tmp_path, monkeypatch):
    (tmp_path / "results/uploads").mkdir()
    now_s = time.time()
    folders = []
    for minutes in (0, 50, 61):
        monkeypatch.setattr(time, "time", lambda at_s=now_s + 60 * minutes: at_s)
        _, _, files, _ = silent_reader.read(tmp_path / "clip.npy")
        assert [Path(file).suffix for file in files] == [".srt", ".vtt", ".txt", ".json"]
        folders.append(Path(files[0]).parent)
        assert all(Path(file).is_file() for file in files)
    assert [folder.exists() for folder in folders] == [False, True, True]
    assert sorted((tmp_path / "results").iterdir()) == sorted([*folders[1:], tmp_path / "results/uploads"])


def test_what_lasts_longer_than_allowed_is_not_read_to_its_end(silent_reader, tmp_path, monkeypatch):
    """Neither where the file can be measured before, nor where it turns out in reading."""
    np.save(tmp_path / "long.npy", np.zeros((25 * 40, 8, 8), np.uint8))
    transcriber = silent_reader._transcribers["auto"]
    with pytest.raises(ConfigError, match="too long for this page: found 40 s; expected at most 30 s"):
        silent_reader.read(tmp_path / "long.npy")
    assert transcriber.read == 0
    monkeypatch.setattr(SaysNothing, "frames", 25 * 600)
    with pytest.raises(ConfigError, match="too long for this page: found more than 30 s"):
        silent_reader.read(tmp_path / "clip.npy")
    assert transcriber.read == 1000  # 40 s: the second time that it looked


def test_what_is_larger_than_this_page_allows_is_refused(silent_reader, tmp_path):
    (tmp_path / "small").mkdir()
    with pytest.raises(ConfigError, match=r"the file is too large: .* at most 0 MB"):
        PageReader("no model", tmp_path / "small", max_mb=0).read(tmp_path / "clip.npy")
    assert silent_reader.read(tmp_path / "clip.npy")


def test_the_mouths_video_holds_its_beginning_and_no_more():
    """Whatever the number of pieces: pictures are counted, not pieces."""
    seen, pictures = [], np.zeros((300, 8, 8), np.uint8)
    for first in range(0, 3000, 300):
        _keep(seen, Stretch(first, SimpleNamespace(frames=pictures), None))
    assert sum(map(len, seen)) == SHOWN_S * 25


def test_the_folder_of_a_page_is_gone_when_it_ends(monkeypatch):
    """Also where the page could not begin: here, because its model is not to be found."""
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(page, "_gradio", lambda: None)
    monkeypatch.setattr(page, "PageReader", lambda *args, **options: made.append(args[1]) or missing())
    made = []

    def missing():
        assert made[0].is_dir()
        raise MediaError("no model")

    with pytest.raises(MediaError), served_page("no model", port=0):
        pass
    assert made and not made[0].exists()


def test_a_file_that_is_gone_is_our_error(silent_reader, tmp_path):
    with pytest.raises(MediaError, match=r"there is no file .*gone\.mp4"):
        silent_reader.read(tmp_path / "gone.mp4")


@pytest.mark.slow
class TestWithAModel:
    """With a model that has learnt three synthetic clips by heart."""

    @pytest.fixture(scope="class")
    def reader(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("reader")
        experiment, clips = write_reader(folder)
        from espnet_vivit.media.files.audio_file import read_wav

        video = folder / "clip.mp4"
        write_spoken_video(video, read_video(clips[0].video), read_wav(clips[0].wav))
        return experiment, video, clips[0].text

    def test_reading_a_video_gives_words_files_and_times(self, reader, tmp_path):
        experiment, video, text = reader
        page_reader = PageReader(experiment, tmp_path, detector="centre")
        words, mouth, files, seconds = page_reader.read(video)
        assert all(f">{word}<" in words for word in text.split())
        assert [Path(file).suffix for file in files] == [".srt", ".vtt", ".txt", ".json"]
        assert Path(files[2]).read_text().strip() == text
        assert probe_video(mouth).num_frames == probe_video(video).num_frames
        assert seconds["total"] > 0

    def test_what_is_too_large_too_long_or_no_video_is_refused(self, reader, tmp_path):
        experiment, video, _ = reader
        with pytest.raises(ConfigError, match="too long for this page: found 2 s; expected at most 1 s"):
            PageReader(experiment, tmp_path, detector="centre", max_s=1).read(video)
        with pytest.raises(ConfigError, match="too large"):
            PageReader(experiment, tmp_path, detector="centre", max_mb=0).read(video)
        (tmp_path / "text.mp4").write_text("no video")
        with pytest.raises(MediaError, match=r"text\.mp4"):
            PageReader(experiment, tmp_path, detector="centre").read(tmp_path / "text.mp4")

    @pytest.mark.timeout(300)
    def test_in_a_browser(self, reader, tmp_path):
        """Upload, read, look, ask for too much: the page as its user meets it; nothing is fetched from elsewhere."""
        if CHROMIUM is None:
            pytest.skip("no Chromium here: apt-get install chromium")
        playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
        experiment, video, text = reader
        (tmp_path / "broken.mp4").write_text("no video")
        with served_page(experiment, port=free_port(), detector="centre") as address:
            assert address.startswith(f"http://{ADDRESS}:")
            folder = Path(os.environ["GRADIO_TEMP_DIR"]).parent
            with playwright.sync_playwright() as player:
                browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1200, "height": 900})
                asked = []
                page.on("request", lambda request: asked.append(request.url))
                page.goto(address)
                page.wait_for_selector("#read")
                page.click("#read")
                page.get_by_text("Choose a video first.").wait_for()
                page.set_input_files("input[type=file]", video)
                page.wait_for_function("document.querySelector('video')?.readyState > 0")
                page.click("#read")
                page.wait_for_selector(".word", timeout=90_000)
                shown = [word.split("\n")[0] for word in page.locator(".word").all_inner_texts()]
                page.wait_for_selector("#mouth video")
                page.screenshot(path=tmp_path / "page.png", full_page=True)
                browser.close()
            assert shown == text.split()
            assert (tmp_path / "page.png").stat().st_size > 10_000
            assert [url for url in asked if ADDRESS not in url and not url.startswith(("data:", "blob:"))] == []
            assert folder.is_dir()
        assert not folder.exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]
