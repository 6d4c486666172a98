"""Code in README.md and docs/ runs, commands and their options exist, links and paths lead somewhere."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from espnet_vivit.bin.cli import COMMANDS
from tests.experiments import write_experiment
from tests.pages import DOCS, PAGES, ROOT, anchors, blocks, commands, links, name_of, paths
from tests.talking_files import write_talking
from tests.test_package import ORDER
from tests.tiny_corpus import CONFIG as TINY

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WRITTEN_BY_USERS = {"egs/my_corpus"}  # paths that a page tells its reader to make
MADE = ("/exp/", "/dump/", "/data/")  # folders of a recipe that has been run


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """`run_page(page)` runs its Python blocks in order, in one namespace; a block with a title becomes that file."""
    from espnet_vivit.model import joint_fusion, parts

    tables = (parts.VISION_ENCODERS, parts.AUDIO_ENCODERS, joint_fusion.FUSIONS)
    before, modules = [dict(table) for table in tables], set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    titled = []

    def run(name: str) -> dict:
        names: dict = {}
        for block in blocks(ROOT / "docs" / name, "python"):
            if block.title is not None:
                titled.append(block.title.removesuffix(".py"))
                (tmp_path / block.title).write_text(block.text, encoding="utf-8")
            else:
                exec(compile(block.text, name, "exec"), names)
        return names

    yield run
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)
    for module in set(sys.modules) - modules:
        if module in titled:
            del sys.modules[module]


def test_every_page_with_python_is_run_by_a_test_below():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [page.name for page in DOCS if blocks(page, "python") and f'run_page("{page.name}")' not in source] == []


def test_the_vision_encoder_of_the_page_works_and_padding_does_not_change_it(run_page):
    names = run_page("add-an-encoder.md")
    assert names["states"].shape == (2, 25, 64) and names["lengths"].tolist() == [25, 10]
    model, video = names["model"], names["video"]
    alone, _ = model.encode(video=video[1:, :10], video_lengths=torch.tensor([10]))
    torch.testing.assert_close(names["states"][1, :10], alone[0], atol=1e-5, rtol=0)
    encoder_class = import_module("mean_pixels").MeanPixels
    for rate, steps in (("frame", [25, 10]), ("tubelet", [12, 5])):
        encoder = encoder_class(feature_rate=rate)
        features, found = encoder(video, torch.tensor([25, 10]))
        assert found.tolist() == steps == encoder.output_lengths(torch.tensor([25, 10])).tolist()
        assert features.shape == (2, steps[0], encoder.output_size()) and not features[1, steps[1] :].any()


def test_the_fusion_of_the_page_works(run_page):
    names = run_page("add-a-fusion.md")
    assert names["states"].shape == (1, 25, 64)
    assert type(names["model"].fusion).__name__ == "MaxFusion"


def test_the_corpus_of_the_page_is_prepared(run_page, tmp_path):
    from espnet_vivit.data.data_dir import read_data_dir

    names = run_page("add-a-corpus.md")
    for clip, words in (("s1/0001", "BIN BLUE"), ("s1/0010", "SET RED"), ("s9/0002", "LAY GREEN")):
        write_talking(tmp_path / "corpus" / f"{clip}.mp4", seconds=2.0, seed=len(words))
        (tmp_path / "corpus" / f"{clip}.lab").write_text(f"{words}\n")
    write_talking(tmp_path / "corpus" / "s1" / "0003.mp4")  # without a transcript
    listed = {clip.utt_id: clip for clip in names["my_corpus_clips"](tmp_path / "corpus")}
    assert listed["s1-0003"].problem and not listed["s1-0001"].problem
    directories = names["prepare"](str(tmp_path / "corpus"), str(tmp_path / "out"), jobs=1, detector="centre")
    texts = {split: [utterance.text for utterance in read_data_dir(path)] for split, path in directories.items()}
    assert texts == {"train": ["bin blue"], "dev": ["set red"], "test": ["lay green"]}


def test_the_checkpoints_of_the_page_load(run_page, tmp_path):
    names = run_page("checkpoints.md")
    first, again = (names[name].vivit.state_dict() for name in ("encoder", "again"))
    assert first.keys() == again.keys() and all(torch.equal(first[key], again[key]) for key in first)
    assert not any(parameter.requires_grad for parameter in names["again"].vivit.parameters())
    model = names["load_experiment"](str(write_experiment(tmp_path / "exp")))
    assert not model.training and isinstance(model, names["E2E"])


def test_the_transcriber_of_the_page_prints(run_page, tmp_path, capsys):
    names = run_page("transcribing.md")
    video = write_talking(tmp_path / "talk.mp4", seconds=2.0)
    names["Transcriber"] = lambda model, make=names["Transcriber"]: make(model, detector="centre", min_confidence=0)
    names["print_words"](str(video), str(write_experiment(tmp_path / "exp")))
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(re.match(r"\w|\d+\.\d\d \d+\.\d\d ", line) for line in lines)


def test_the_live_recognizer_of_the_page_prints(run_page, tmp_path, capsys):
    names = run_page("live.md")
    chunks = {"encoder_conf": {**TINY["encoder_conf"], "chunk_steps": [4, 8, 0], "left_steps": 8}}
    model = write_experiment(tmp_path / "exp", audio_encoder=..., audio_encoder_conf=..., **chunks)
    pictures = np.random.default_rng(0).integers(0, 256, (50, 48, 48), dtype=np.uint8)
    names["print_live"](str(model), [(pictures[:20], None), (pictures[20:], None)])
    assert [line[:2] for line in capsys.readouterr().out.splitlines()][:2] == ["('", "('"]


def test_the_import_rule_of_the_page_is_the_one_that_is_tested(run_page):
    assert run_page("architecture.md")["ORDER"] == ORDER


YAMLS = [(name_of(page), number) for page in PAGES for number, _ in enumerate(blocks(page, "yaml"))]


@pytest.mark.parametrize(("page", "number"), YAMLS)
def test_a_yaml_is_a_training_that_would_be_accepted(page, number, tmp_path):
    from espnet_vivit.tasks.avsr import AVSRTask

    block = blocks(ROOT / page, "yaml")[number]
    assert isinstance(yaml.safe_load(block.text), dict)
    (tmp_path / "train.yaml").write_text(block.text, encoding="utf-8")
    (tmp_path / "tokens.txt").write_text("<blank>\n<unk>\na\n<sos/eos>\n")
    files = ["--config", tmp_path / "train.yaml", "--token_list", tmp_path / "tokens.txt", "--output_dir", tmp_path]
    arguments = AVSRTask.get_parser().parse_args([*map(str, files), "--token_type", "char"])
    AVSRTask.check_required_command_args(arguments)


def test_a_misspelt_yaml_would_be_found(tmp_path):
    from espnet_vivit.errors import ConfigError
    from espnet_vivit.tasks.avsr import AVSRTask

    (tmp_path / "train.yaml").write_text("vision_encodr: vivit\n")
    with pytest.raises(ConfigError, match="vision_encoder"):
        AVSRTask.get_parser().parse_args(["--config", str(tmp_path / "train.yaml")])


def _module_of(words: list[str]) -> str | None:
    """The module whose `main` a command runs, None for commands that are not ours."""
    if words[0] == "espnet-vivit" and len(words) > 1 and re.fullmatch(r"[a-z][a-z-]+", words[1]):
        assert words[1] in COMMANDS, f"no command espnet-vivit {words[1]}"
        return f"espnet_vivit.bin.commands.{words[1].replace('-', '_')}"
    if words[:2] == ["python", "-m"] and re.fullmatch(r"espnet_vivit\.[\w.]+", words[2]):
        return words[2]
    return None


def _options_of_pages() -> dict[str, set[str]]:
    """Module -> the options with which the pages call it."""
    called: dict[str, set[str]] = {}
    for page in PAGES:
        for words in commands(page):
            if module := _module_of(words):
                options = {word.partition("=")[0] for word in words if word.startswith("--")}
                called.setdefault(module, set()).update(options)
    return called


CALLED = _options_of_pages()


@pytest.mark.parametrize("module", sorted(CALLED))
def test_commands_and_their_options_exist(module, capsys):
    main = import_module(module).main
    for corpus in ("folder", "grid", "auto-avsr") if module.endswith(".prepare") else ("",):
        with pytest.raises(SystemExit):
            main([*([corpus] if corpus else []), "--help"])
    text = capsys.readouterr().out
    assert [option for option in CALLED[module] if not re.search(rf"{option}\b", text)] == []


@pytest.mark.parametrize(
    "target", sorted({words[1] for page in PAGES for words in commands(page) if words[0] == "make" and len(words) > 1})
)
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE)


@pytest.mark.parametrize(("page", "link"), sorted({(name_of(page), link) for page in PAGES for link in links(page)}))
def test_links_lead_somewhere(page, link):
    file, _, anchor = link.partition("#")
    target = (ROOT / page).parent / file if file else ROOT / page
    assert target.exists()
    if page.startswith("docs/"):
        assert target.resolve().parent == ROOT / "docs", "the site has nothing outside docs/"
    if anchor:
        assert anchor in anchors(target)


@pytest.mark.parametrize(("page", "path"), sorted({(name_of(page), path) for page in PAGES for path in paths(page)}))
def test_named_files_exist(page, path):
    if path in WRITTEN_BY_USERS or any(part in f"{path}/" for part in MADE):
        return
    assert (ROOT / path).exists() or any(ROOT.glob(f"{path}*"))


def test_the_first_page_leads_newcomers_on_at_once():
    """How to train on a folder, load a checkpoint and add an encoder: one click from the first page."""
    assert {"own-data.md", "checkpoints.md", "add-an-encoder.md"} <= links(ROOT / "docs" / "index.md")


def test_every_page_is_in_the_navigation():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = {page for entry in site["nav"] for page in _pages_of(entry)}
    assert listed == {page.name for page in DOCS} and site["strict"] is True


def _pages_of(entry) -> set[str]:
    if isinstance(entry, str):
        return {entry}
    values = entry.values() if isinstance(entry, dict) else entry
    return {page for value in values for page in _pages_of(value)}


def test_the_configuration_page_is_current_and_explains_every_option():
    spec = spec_from_file_location("write_configuration_page", ROOT / "tools" / "write_configuration_page.py")
    writer = module_from_spec(spec)
    spec.loader.exec_module(writer)
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == writer.page(), "not current: run python tools/write_configuration_page.py"
    assert re.findall(r"^\| `\w+` \| .* \|  \|$", page, flags=re.MULTILINE) == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "vivit_encoder" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
