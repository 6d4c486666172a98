"""From media files to text: a model that knows three clips by heart reads them, alone and strung together."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from espnet_vivit.bin import cli
from espnet_vivit.decode.word_times import Transcript, Word
from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.media import mouth_clip
from espnet_vivit.media.files.audio_file import read_wav
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.media.mouth_clip import NoFaceError
from espnet_vivit.release.pack import pack
from espnet_vivit.transcription.page.page import words_html
from espnet_vivit.transcription.result import OK, UNCLEAR, WARN
from espnet_vivit.transcription.subtitles.formats import MARK, write_subtitles
from espnet_vivit.transcription.transcriber import UNKNOWN_PIECE_S, Transcriber
from tests.experiments import write_experiment
from tests.media.videos import write_tracks, write_video
from tests.reader import write_reader
from tests.recordings import write_recording

TRUE_TO_S = 0.08


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """(experiment folder, [(frames, samples, utterance)] of the clips that it knows)."""
    experiment, clips = write_reader(tmp_path_factory.mktemp("reader"))
    return experiment, [(read_video(clip.video), read_wav(clip.wav), clip) for clip in clips]


@pytest.fixture(scope="module")
def transcriber(reader):
    return Transcriber(reader[0], detector="centre")


@pytest.fixture(scope="module")
def clip(reader, tmp_path_factory):
    """The first clip as a media file."""
    frames, samples, _ = reader[1][0]
    return write_recording(tmp_path_factory.mktemp("clip") / "clip.mkv", frames, samples)


@pytest.fixture(scope="module")
def text(reader):
    return reader[1][0][2].text


def strung(reader, order):
    """(frames, samples, [(word, start, end)]) of the clips strung together."""
    frames, samples, words, first = [], [], [], 0
    for index in order:
        pictures, sound, utterance = reader[1][index]
        frames.append(pictures)
        samples.append(sound)
        words += [(w.word, w.start_s + first / 25, w.end_s + first / 25) for w in utterance.word_times]
        first += len(pictures)
    return np.concatenate(frames), np.concatenate(samples), words


@pytest.mark.parametrize("modality", ["auto", "video", "audio", "multimodal"])
def test_a_clip_gives_its_text_with_times_and_confidence(reader, clip, text, modality):
    result = Transcriber(reader[0], detector="centre", modality=modality, nbest=2).transcribe(clip)
    assert result.text == text and result.verdict == OK and result.confidence > 0.8
    for word, known in zip(result.words, reader[1][0][2].word_times, strict=True):
        assert abs(word.start_s - known.start_s) < TRUE_TO_S and abs(word.end_s - known.end_s) < TRUE_TO_S
        assert 0 < word.confidence <= 1
    ((best, second),) = result.nbest
    assert best.text == text and second.text != text and best.score > second.score
    assert {piece.modality for piece in result.pieces} == {"multimodal" if modality == "auto" else modality}
    assert result.seconds["total"] >= result.seconds["encode"] + result.seconds["search"] > 0


@pytest.mark.parametrize("modality", ["video", "audio", "multimodal"])
def test_clips_strung_together_give_their_texts_strung_together(reader, tmp_path, modality):
    frames, samples, known = strung(reader, [2, 0, 1, 1, 0, 2])
    recording = write_recording(tmp_path / "long.mkv", frames, samples)
    result = Transcriber(reader[0], detector="centre", modality=modality).transcribe(recording)
    assert result.text.split() == [word for word, _, _ in known]
    errors = [max(abs(w.start_s - a), abs(w.end_s - b)) for w, (_, a, b) in zip(result.words, known, strict=True)]
    assert np.quantile(errors, 1.0 if modality == "multimodal" else 0.9) < TRUE_TO_S
    assert len(result.pieces) > 3 and result.pieces[0].start_s == 0
    assert result.duration_s == len(frames) / 25
    for piece, following in zip(result.pieces, result.pieces[1:], strict=False):
        assert piece.end_s == following.start_s


def test_without_joining_words_would_be_repeated(reader, tmp_path):
    """What the pieces say by themselves is more than what is said: the check above can fail."""
    frames, samples, known = strung(reader, [2, 0, 1, 1, 0, 2])
    recording = write_recording(tmp_path / "long.mkv", frames, samples)
    result = Transcriber(reader[0], detector="centre", longest_piece_s=2.2).transcribe(recording)
    assert sum(len(nbest[0].text.split()) for nbest in result.nbest) > len(known)


def test_a_package_transcribes_like_its_experiment(reader, clip, text, transcriber, tmp_path):
    package = pack(reader[0], tmp_path / "package.zip", licence="MIT")
    packed = Transcriber(package, detector="centre")
    assert (packed.mouth_size, packed.longest_piece_s) == (transcriber.mouth_size, transcriber.longest_piece_s)
    assert packed.transcribe(clip).words == transcriber.transcribe(clip).words


def test_what_the_file_lacks_is_done_without(reader, transcriber, text, tmp_path):
    frames, samples, _ = reader[1][0]
    silent = transcriber.transcribe(write_recording(tmp_path / "mute.mkv", frames))
    assert silent.text == text and silent.pieces[0].modality == "video"
    blind = transcriber.transcribe(write_recording(tmp_path / "sound.mkv", None, samples))
    assert blind.text == text and blind.pieces[0].modality == "audio" and blind.verdict == OK
    dead = transcriber.transcribe(write_recording(tmp_path / "dead.mkv", frames, np.zeros_like(samples)))
    assert dead.text == text and dead.pieces[0].modality == "video" and dead.verdict == WARN


def test_a_picture_that_shows_no_mouth_gives_no_words(reader, tmp_path):
    lips = Transcriber(reader[0], detector="centre", modality="video")
    gray = np.full((60, 48, 48), 110, np.uint8)
    result = lips.transcribe(write_recording(tmp_path / "gray.mkv", gray))
    assert result.text == "" and result.verdict == UNCLEAR and result.unclear[0].reasons


def test_a_picture_that_shows_no_mouth_leaves_the_sound(reader, transcriber, text, tmp_path):
    frames, samples, _ = reader[1][0]
    result = transcriber.transcribe(write_recording(tmp_path / "gray.mkv", np.full_like(frames, 110), samples))
    assert result.text == text and result.verdict == WARN and result.pieces[0].modality == "audio"


@pytest.mark.parametrize("modality", ["video", "auto"])
def test_a_time_without_a_face_is_reported_and_reading_goes_on_behind_it(reader, text, tmp_path, monkeypatch, modality):
    frames, samples, _ = reader[1][0]
    three = (np.concatenate([frames] * 3), np.concatenate([samples] * 3))
    recording, away_s = write_recording(tmp_path / "away.mkv", *three), (len(frames) / 25, 2 * len(frames) / 25)
    stream = mouth_clip.stream_mouth_clips

    def with_gap(path, *, start_s, **options):
        """As the detector would see it if the speaker were away in the middle third."""
        if start_s > 0:
            yield from stream(path, start_s=start_s, **options)
            return
        yield from stream(path, start_s=0.0, end_s=away_s[0], **options)
        raise NoFaceError("no face", start_s=away_s[0], end_s=away_s[1])

    monkeypatch.setattr(mouth_clip, "stream_mouth_clips", with_gap)
    result = Transcriber(reader[0], detector="centre", modality=modality).transcribe(recording)
    (away,) = [piece for piece in result.pieces if piece.status != OK]
    assert (away.start_s, away.end_s) == away_s and "no face was found" in away.reasons[0]
    assert result.verdict == WARN and away.status == (UNCLEAR if modality == "video" else WARN)
    assert result.text == " ".join([text] * (2 if modality == "video" else 3))
    assert result.words[-6].start_s > away_s[1]


def test_a_face_that_stays_away_is_reported_to_the_end(reader, tmp_path):
    """By the real detector: drawn mouths are no faces."""
    recording = write_recording(tmp_path / "mute.mkv", np.tile(reader[1][0][0], (1, 4, 4)))
    result = Transcriber(reader[0], detector="haar", modality="video").transcribe(recording)
    assert result.verdict == UNCLEAR and result.text == "" and result.unclear[0].reasons == ("no face was found",)
    assert result.duration_s == len(reader[1][0][0]) / 25


def test_what_was_never_learnt_is_not_believed(reader, clip, text, tmp_path):
    frames, samples, _ = reader[1][0]
    strange = write_recording(tmp_path / "backwards.mkv", frames[::-1, ::-1], samples[::-1])
    result = Transcriber(reader[0], detector="centre").transcribe(strange)
    assert result.text == "" and result.nbest[0][0].text, "something was found, and it is not believed"
    assert "is below" in " ".join(result.pieces[0].reasons)
    believed = Transcriber(reader[0], detector="centre", min_confidence=0.0).transcribe(strange)
    assert believed.text == result.nbest[0][0].text


def test_where_nobody_knows_how_long_clips_were_pieces_are_short(tmp_path):
    exp = write_experiment(tmp_path / "exp", audio_encoder=...)
    assert Transcriber(exp).longest_piece_s == UNKNOWN_PIECE_S
    config = yaml.safe_load((exp / "config.yaml").read_text())
    for known_s, longest_s in ((3.0, 4.8), (1.0, 4.0), (20.0, 12.0)):
        config["training_facts"] = {"longest_clip_s": known_s}
        (exp / "config.yaml").write_text(yaml.safe_dump(config))
        assert Transcriber(exp).longest_piece_s == pytest.approx(longest_s)


def test_the_threshold_comes_from_calibration(reader, clip, text, tmp_path):
    experiment = Path(tmp_path / "exp")
    experiment.mkdir()
    for path in reader[0].iterdir():
        (experiment / path.name).write_bytes(path.read_bytes())
    found = Transcriber(experiment, detector="centre", min_confidence=0.0).transcribe(clip).confidence
    for least, verdict in ((found - 1e-9, OK), (found + 1e-9, UNCLEAR)):
        (experiment / "reliability.json").write_text(json.dumps({"multimodal": {"min_confidence": least}}))
        calibrated = Transcriber(experiment, detector="centre")
        assert calibrated.recognizer.needed_confidence("video") == 0.5, "nobody has calibrated it"
        assert calibrated.transcribe(clip).verdict == verdict


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("search", ["beam", "ctc_greedy"])
def test_a_loop_is_never_believed(reader, clip, tmp_path, monkeypatch, search, calibrated):
    """However sure the search is of it, and whatever shows the result."""
    experiment = shutil.copytree(reader[0], tmp_path / "exp")
    if calibrated:
        (experiment / "reliability.json").write_text(json.dumps({"multimodal": {"min_confidence": 0.1}}))
    transcriber = Transcriber(experiment, detector="centre", search=search)
    loop = ["x", "eight"] * 4
    words = tuple(Word(word, 0.2 * i, 0.2 * i + 0.2, 0.9) for i, word in enumerate(loop))
    sure = Transcript(" ".join(loop), tuple(loop), (), -1.0, words, 0.9)
    monkeypatch.setattr(transcriber.recognizer.speech2text, "recognize", lambda *_, **__: [sure])
    result = transcriber.transcribe(clip)
    reason = "the answer is a loop: 'x eight' 4 times in a row, 3 is the most"
    assert (result.text, result.verdict, result.unclear[0].reasons) == ("", UNCLEAR, (reason,))
    files = write_subtitles(result, tmp_path, ["json", "srt", "vtt", "txt"], name="clip")
    said = json.loads(files[0].read_text())
    assert (said["text"], said["pieces"][0]["reasons"]) == ("", [reason])
    assert all(MARK in file.read_text() and "eight" not in file.read_text() for file in files[1:])
    assert "unclear: the answer is a loop: &#39;x eight&#39; 4 times" in words_html(result)


def test_what_the_frames_do_not_show_is_not_believed(reader, clip, monkeypatch):
    """A frame head that sees nothing in particular, beside a search that is sure."""
    transcriber = Transcriber(reader[0], detector="centre")
    head = transcriber.recognizer.speech2text.asr_model.frame_head
    assert transcriber.transcribe(clip).verdict == OK
    monkeypatch.setattr(head, "forward", lambda states: torch.zeros(*states.shape[:2], head.out_features))
    result = transcriber.transcribe(clip)
    assert result.verdict == UNCLEAR and result.pieces[0].confidence > 0.8
    (reason,) = result.unclear[0].reasons
    assert reason.startswith("frame by frame the model sees these words with a probability of 0.0")


def test_files_are_written_and_one_that_fails_does_not_stop_the_others(reader, clip, text, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    videos = [str(tmp_path / "broken.mp4"), str(tmp_path / "gone.mp4"), str(tmp_path), str(clip)]
    options = ["--model", str(reader[0]), "--detector", "centre", "--output_dir", str(tmp_path / "out")]
    status = cli.main(["transcribe", *videos, *options, "--output", "txt,srt,vtt,ctm,json,trn", "--burn"])
    printed = capsys.readouterr()
    assert status == 1 and "1 of 4 files transcribed" in printed.err
    assert "broken.mp4" in printed.err and "there is no file" in printed.err and "is a folder" in printed.err
    assert "Traceback" not in printed.err
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"clip.{form}" for form in ("txt", "srt", "vtt", "ctm", "json", "trn", "subtitled.mp4")}
    assert (tmp_path / "out/clip.txt").read_text() == f"{text}\n"
    assert json.loads((tmp_path / "out/clip.json").read_text())["text"] == text


def test_without_outputs_the_text_is_printed_and_the_status_is_0(reader, clip, text, capsys):
    options = ["--model", str(reader[0]), "--detector", "centre", "--search", "ctc_greedy"]
    assert cli.main(["transcribe", str(clip), *options]) == 0
    assert capsys.readouterr().out == f"{clip}: {text}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "nowhere"], "there is no model at nowhere"),
        (["--model", "EXP", "--output", "srr"], "Did you mean 'srt'"),
        (["--model", "EXP", "--detector", "mediapip"], "Did you mean 'mediapipe'"),
        (["--model", "EXP", "--min_confidence", "3"], "min_confidence: found 3.0"),
        (["--model", "EXP", "--longest_piece_s", "1"], "pieces too short"),
        (["--model", "EXP", "--nbest", "0"], "a search with a bad nbest: found 0"),
        (["--model", "EXP", "--beam_size", "-2"], "beam_size: found -2; expected 1 or more hypotheses"),
        (["--model", "EXP", "--ctc_weight", "30"], "ctc_weight: found 30.0; expected 0 to 1"),
        (["--model", "EXP", "--lm_weight", "0.5"], "lm_weight without any language model"),
        (["--model", "EXP", "--device", "gpu"], "no such device: found gpu; expected cpu, cuda"),
        (["--model", "EXP", "--device", "cuda:99"], "this machine has no such device: found cuda:99"),
    ],
)
def test_what_cannot_be_is_said(reader, clip, options, message, capsys):
    options = [str(reader[0]) if option == "EXP" else option for option in options]
    assert cli.main(["transcribe", str(clip), "--detector", "centre", *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["clip.mp4", "--model", "nowhere"], ["error: there is no model at nowhere"]),
        (["gone.mp4", "--model", "."], ["error: gone.mp4: there is no file gone.mp4", "0 of 1 files transcribed"]),
        (["a/", "gone.mp4", "--model", "."], ["a is a folder", "no file gone.mp4", "0 of 2 files"]),
        (
            ["clip.mp4", "--model", ".", "--output", "txt", "--output_dir", "file/out"],
            ["cannot make the folder file/out"],
        ),
        (["clip.mp4", "--model", ".", "--burn", "--output_dir", "/proc"], ["cannot write into /proc"]),
        (["clip.mp4", "--model", ".", "--detector", "mediapip"], ["Did you mean 'mediapipe'"]),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_loaded(arguments, messages, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("file", "clip.mp4"):
        (tmp_path / name).touch()
    code = (
        "import sys; from espnet_vivit.bin import cli; status = cli.main(sys.argv[1:]); "
        "print(status, *[name for name in ('torch', 'espnet2', 'transformers') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "transcribe", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done
    assert all(message in done.stderr for message in messages) and "Traceback" not in done.stderr, done.stderr


def test_a_transcript_that_is_there_is_not_replaced_unless_that_is_wanted(reader, clip, text, tmp_path, capsys):
    """`prepare folder` takes clip.txt for what was said in clip.mkv."""
    beside = Path(shutil.copy(clip, tmp_path / f"talk{clip.suffix}"))
    (tmp_path / "talk.txt").write_text("what was really said\n")
    command = ["transcribe", str(beside), "--model", str(reader[0]), "--detector", "centre", "--output", "srt,txt"]
    assert cli.main(command) == 1
    assert "talk.txt" in (printed := capsys.readouterr().err) and "--overwrite" in printed
    assert (tmp_path / "talk.txt").read_text() == "what was really said\n" and not (tmp_path / "talk.srt").exists()
    assert cli.main([*command, "--overwrite"]) == 0
    assert (tmp_path / "talk.txt").read_text() == f"{text}\n" and (tmp_path / "talk.srt").exists()


def test_two_files_of_one_name_are_not_written_over_each_other(tmp_path):
    with pytest.raises(ConfigError, match="would be written to the same"):
        from espnet_vivit.bin.commands.transcribe import main

        main(["a/x.mp4", "b/x.mp4", "--model", "m", "--output", "txt", "--output_dir", str(tmp_path)])


@pytest.mark.parametrize("options", [{"mouth_size": 0}, {"longest_piece_s": 0}, {"longest_piece_s": float("nan")}])
def test_nothing_is_not_taken_for_the_default(options, tmp_path):
    with pytest.raises(ConfigError, match=f"{next(iter(options))}: found"):
        Transcriber(tmp_path, **options)


def test_a_file_without_the_stream_that_is_asked_for_is_an_error(reader, tmp_path):
    frames = reader[1][0][0]
    mute = write_recording(tmp_path / "mute.mkv", frames)
    for modality, message in (("audio", "no sound"), ("multimodal", "read from both streams: found video")):
        with pytest.raises(MediaError, match=message):
            Transcriber(reader[0], modality=modality).transcribe(mute)


def write_late(path, reader, lead_s, *, sound_before):
    """The first clip, its pictures `lead_s` into the file: before them silence, or the same clip's sound."""
    frames, samples, _ = reader[1][0]
    samples = samples[: 640 * len(frames)]
    before = np.zeros(round(lead_s * 16_000), np.float32)
    if sound_before:
        before[: len(samples)] = samples
    times_ms = [round(1000 * lead_s) + 40 * index for index in range(len(frames))]
    rgb = np.repeat(frames[..., None], 3, axis=3)
    return write_video(
        path, rgb, times_ms=times_ms, codec="ffv1", pixel_format="bgr0", speech=np.concatenate([before, samples]),
        sound_codec="flac",
    )  # fmt: skip


@pytest.mark.parametrize("sound_before", [False, True])
def test_times_are_a_players_where_the_pictures_begin_later(reader, text, tmp_path, sound_before):
    """A camera that is switched on 2.4 s into the recording; what is said before is read from the sound."""
    path = write_late(tmp_path / "late.mkv", reader, 2.4, sound_before=sound_before)
    result = Transcriber(reader[0], detector="centre").transcribe(path)
    assert result.text == " ".join([text] * (1 + sound_before))
    known = reader[1][0][2].word_times
    for word, time in zip(result.words[-len(known) :], known, strict=True):
        assert abs(word.start_s - time.start_s - 2.4) < TRUE_TO_S
    if sound_before:
        assert result.pieces[0].modality == "audio" and abs(result.words[0].start_s - known[0].start_s) < TRUE_TO_S
    lips = Transcriber(reader[0], detector="centre", modality="video").transcribe(path)
    assert abs(lips.words[0].start_s - known[0].start_s - 2.4) < TRUE_TO_S


def test_a_size_that_changes_on_the_way_costs_neither_words_nor_sound(reader, text, tmp_path):
    """From the lips; the second half of the pictures is twice as large."""
    frames, _, _ = reader[1][0]
    half, parts = len(frames) // 2, []
    for name, part in (("a", frames[:half]), ("b", frames[half:].repeat(2, axis=1).repeat(2, axis=2))):
        rgb = np.repeat(part[..., None], 3, axis=3)
        options = {"bf": "0", "crf": "4"}
        parts.append(write_video(tmp_path / f"{name}.ts", rgb, options=options))
    path = tmp_path / "call.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    result = Transcriber(reader[0], detector="centre", modality="video", min_confidence=0).transcribe(path)
    assert result.text.split() == text.split()
    assert any("size changes" in remark for remark in result.remarks)


def test_the_track_to_listen_to_is_an_option_and_the_choice_is_told(reader, text, tmp_path, capsys):
    _, samples, _ = reader[1][0]
    path = write_tracks(tmp_path / "two.mkv", [np.zeros_like(samples), samples], default=0)
    for arguments, said in (([], text), (["--audio_track", "2"], text), (["--audio_track", "1"], "[unclear]")):
        assert cli.main(["transcribe", str(path), "--model", str(reader[0]), *arguments]) == 0
        out, err = capsys.readouterr()
        assert out.strip() == f"{path}: {said}"
        assert ("warning: " in err and "track 2 is read" in err) == (not arguments)
    assert cli.main(["transcribe", str(path), "--model", str(reader[0]), "--audio_track", "3"]) == 1
    assert "has no audio track 3" in capsys.readouterr().err
