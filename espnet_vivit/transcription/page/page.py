"""A local web page to try a model on: a video in; words at their times, the mouth that was read and subtitles out.

    espnet-vivit page --model exp/avsr_train          then open http://127.0.0.1:7860

Only this machine can reach it (see guard.py). Uploads are bounded in bytes and in seconds, each and in bytes together,
and live in a temporary folder that goes with the program (see folder.py). While it runs, uploads older than an hour are
deleted, and with the next reading results of that age.
Synthetic clips to try it with are rendered at the start (they need espeak-ng's loader). The page is Gradio's; nothing
is loaded from the network.
"""

import dataclasses
import html
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_vivit.base.templates import render
from espnet_vivit.errors import EspnetVivitError, MissingDependencyError
from espnet_vivit.transcription.page.example_clips import render_examples, write_spoken_video
from espnet_vivit.transcription.page.folder import page_folder
from espnet_vivit.transcription.page.uploads import check_read, check_upload
from espnet_vivit.transcription.result import Transcription
from espnet_vivit.transcription.transcriber import MODALITY_CHOICES, Transcriber
from espnet_vivit.units import VIDEO_RATE_HZ

if TYPE_CHECKING:
    from gradio import Blocks

    from espnet_vivit.model.parts import VisualFrontend
    from espnet_vivit.transcription.cutting import Stretch

ADDRESS, PORT = "127.0.0.1", 7860
MAX_MB, MAX_TOTAL_MB, MAX_S = 200, 1000, 180.0
DOWNLOADS = ("srt", "vtt", "txt", "json")
SHOWN_S, _SHOWN_PIXELS = 20.0, 288  # of the mouth's picture
_CLEAN_EVERY_S, _KEEP_S = 600, 3600


class PageReader:
    """What the page does with a video, without the page: `read(path, modality)` gives what its fields show.

    folder: where results are written, each into a folder of its own; `read` deletes those that are an hour old.
    max_mb, max_s: of a video; larger ones are refused with a ConfigError.
    """

    def __init__(
        self, model: str | Path, folder: Path, *, detector: str = "auto", max_mb: int = MAX_MB, max_s: float = MAX_S
    ):
        self._model, self._detector = model, detector
        self._transcribers = {"auto": Transcriber(model, detector=detector)}
        self._folder, self._max_mb, self._max_s = folder, max_mb, max_s
        self._results: dict[Path, float] = {}  # folders and when they were made, in seconds
        trained = self._transcribers["auto"].recognizer.modality
        self.modalities = MODALITY_CHOICES if trained == "multimodal" else ("auto",)
        self._sees = trained != "audio"

    def read(self, path: str | Path, modality: str = "auto") -> tuple[str, str | None, list[str], dict]:
        """(words as HTML, video of the mouth or None, subtitle files, seconds by stage). Raises EspnetVivitError."""
        from espnet_vivit.transcription.subtitles.formats import write_subtitles

        path = Path(path)
        self._delete_old_results()
        check_upload(path, max_mb=self._max_mb, max_s=self._max_s)
        if modality not in self._transcribers:  # each holds the model for one choice of streams
            self._transcribers[modality] = Transcriber(self._model, modality=modality, detector=self._detector)
        seen: list[np.ndarray] = []

        def look(stretch: "Stretch") -> None:
            check_read(stretch, max_s=self._max_s)
            _keep(seen, stretch)

        result = self._transcribers[modality].transcribe(path, on_stretch=look)
        result = dataclasses.replace(result, path=path.name)  # the folder is the server's own affair
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        self._results[folder] = time.time()
        files = [str(file) for file in write_subtitles(result, folder, DOWNLOADS, name=path.stem)]
        mouth = self._mouth_video(np.concatenate(seen), folder) if self._sees and seen else None
        return words_html(result), mouth, files, {name: round(spent, 2) for name, spent in result.seconds.items()}

    def _delete_old_results(self) -> None:
        old = [folder for folder, made_s in self._results.items() if time.time() - made_s > _KEEP_S]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)  # on Windows, what is being downloaded stays: it goes at the end
            del self._results[folder]

    def _mouth_video(self, frames: np.ndarray, folder: Path) -> str:
        """What the model saw and, for ViViT, beside it where it looked; `frames` as they were read."""
        recognizer = self._transcribers["auto"].recognizer
        frames = seen_and_looked_at(recognizer.speech2text.asr_model.vision_encoder, recognizer.seen(frames))
        scale = max(1, _SHOWN_PIXELS // frames.shape[1])
        frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
        target = folder / "mouth.mp4"
        write_spoken_video(target, frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2])
        return str(target)


def _keep(seen: list[np.ndarray], stretch: "Stretch") -> None:
    """Add the stretch's mouth pictures, until there are those of `SHOWN_S`."""
    missing = round(SHOWN_S * VIDEO_RATE_HZ) - sum(map(len, seen))
    if stretch.clip is not None and missing > 0:
        seen.append(stretch.clip.frames[:missing])


def seen_and_looked_at(vision_encoder: "VisualFrontend", seen: np.ndarray) -> np.ndarray:
    """(T, H, W) uint8 as the encoder gets it; for a ViViT (T, H, 2 W, 3): beside it with its attention rollout."""
    import torch

    from espnet_vivit.frontend.vivit.attention_rollout import attention_rollout, overlay
    from espnet_vivit.frontend.vivit.encoder import VivitEncoder

    if not isinstance(vision_encoder, VivitEncoder):
        return seen
    maps = attention_rollout(vision_encoder, torch.from_numpy(seen)).numpy()  # (T', h, w)
    steps = np.minimum(np.arange(len(seen)) * len(maps) // len(seen), len(maps) - 1)
    gray = seen[..., None].repeat(3, axis=3)
    lit = np.stack([overlay(frame, maps[step]) for frame, step in zip(seen, steps, strict=True)])
    return np.concatenate([gray, lit], axis=2)


def words_html(result: Transcription) -> str:
    """The words colored by confidence, each with its times; what is unclear with its reasons."""
    return render("words.html", result=result)


_NOTHING_YET = '<p class="yet">The words will stand here, colored from red (a guess) to green (sure).</p>'
_STYLE = """
.yet { color: #777; padding: 8px 14px; }
.words { line-height: 3.2; }
.word { display: inline-block; padding: 2px 10px; margin: 3px; border-radius: 8px; color: #111; line-height: 1.4;
        text-align: center; font-size: 1.2rem; }
.word small { display: block; font-size: .7rem; color: #333; }
.reason { color: #a33; line-height: 1.5; }
"""


def build_page(reader: PageReader, *, examples: Sequence[Path] = ()) -> "Blocks":
    """The page as `gradio.Blocks`. Raises MissingDependencyError without Gradio."""
    gradio = _gradio()

    def answer(path, modality):
        if path is None:
            raise refused("Choose a video first.")
        try:
            return reader.read(path, modality)
        except EspnetVivitError as error:
            raise refused(str(error).replace(f"{Path(path).parent}{os.sep}", "")) from error

    def refused(sentence):
        return gradio.Error(html.escape(sentence), duration=None, print_exception=False)

    with gradio.Blocks(title="espnet_vivit", delete_cache=(_CLEAN_EVERY_S, _KEEP_S), analytics_enabled=False) as page:
        gradio.Markdown(
            "# What is being said?\nA video of a speaking face in; its words out. It stays on this machine.\n"
            "What your browser cannot play, such as MPEG-1 or Matroska, is read all the same."
        )
        with gradio.Row():
            with gradio.Column():
                video = gradio.Video(label="Video", sources=["upload", "webcam"], height=320)
                choices = list(reader.modalities)
                modality = gradio.Radio(choices, value="auto", label="Read from", visible=len(choices) > 1)
                button = gradio.Button("Read", variant="primary", elem_id="read")
                if examples:
                    gradio.Examples([[str(path)] for path in examples], inputs=[video], label="Synthetic clips")
            with gradio.Column():
                words = gradio.HTML(_NOTHING_YET, elem_id="words")
                mouth = gradio.Video(
                    label="What the model saw (ViViT: and where it looked)",
                    interactive=False,
                    height=240,
                    elem_id="mouth",
                )
                files = gradio.Files(label="Subtitles", interactive=False, elem_id="files")
                with gradio.Accordion("Seconds spent, by stage", open=False):
                    seconds = gradio.JSON(label="Seconds")
        button.click(answer, [video, modality], [words, mouth, files, seconds], api_name="read", concurrency_limit=1)
    return page


@contextmanager
def served_page(
    model: str | Path,
    *,
    port: int = PORT,
    detector: str = "auto",
    max_mb: int = MAX_MB,
    max_total_mb: int = MAX_TOTAL_MB,
    max_s: float = MAX_S,
    allowed_hosts: Sequence[str] = (),
) -> Iterator[str]:
    """Serve the page on this machine while the block runs; gives its address. All files go with the block.

    allowed_hosts: names of this machine that the page answers to besides 127.0.0.1 and localhost.
    """
    with page_folder() as folder:
        uploads = folder / "uploads"
        os.environ |= {"GRADIO_TEMP_DIR": str(uploads), "GRADIO_ANALYTICS_ENABLED": "False"}
        gradio = _gradio()
        from starlette.middleware import Middleware

        from espnet_vivit.transcription.page.guard import PageGuard

        guard = Middleware(PageGuard, hosts=tuple(allowed_hosts), folder=uploads, max_total_mb=max_total_mb)
        reader = PageReader(model, folder, detector=detector, max_mb=max_mb, max_s=max_s)
        page = build_page(reader, examples=render_examples(folder))
        try:
            _, address, _ = page.launch(
                server_name=ADDRESS,
                server_port=port,
                share=False,
                ssr_mode=False,
                prevent_thread_lock=True,
                quiet=True,
                max_file_size=f"{max_mb}mb",
                allowed_paths=[str(folder)],
                app_kwargs={"middleware": [guard]},
                theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                css=_STYLE,
            )
            yield address
        finally:
            page.close()


def _gradio():
    try:
        import gradio
    except ImportError as error:
        raise MissingDependencyError("Gradio is not installed", fix="Type: pip install 'espnet-vivit[page]'") from error
    return gradio
