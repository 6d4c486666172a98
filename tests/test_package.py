"""The package as a whole: what importing it costs, who imports whom, what its wheel and its metadata say."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Collection, Iterator
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import espnet_vivit
from espnet_vivit.base.installation import shipped_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "espnet_vivit"
HEAVY = ("torch", "transformers", "espnet", "espnet2", "cv2", "numpy")
IMPORT_LIMIT_S = 0.3
MOST_LINES, MOST_PARAMETERS = 60, 20
SCHEMAS = {  # whose parameters are the flat keys of a section of config.yaml or config.json, explained in one docstring
    "e2e_asr_conformer.py": ("__init__",),
    "frontend/vivit_encoder.py": ("vivit_encoder",),
    "frontend/vivit/family_config.py": ("FamilyConfig",),
}

# The import rule: a room imports only rooms that stand above it. A room is a folder or a module under the package.
ORDER = (
    *("errors", "units", "version", "espnet_compat", "base", "media", "data", "corpora", "evaluation", "frontend"),
    *("model", "e2e_asr_conformer", "tasks", "decode", "transcription", "release", "registration", "bin"),
)
WALLS = {  # rooms that do not import each other though the order would allow it
    ("frontend", "media"), ("frontend", "data"), ("frontend", "corpora"),
    ("model", "media"), ("model", "data"), ("model", "corpora"),
    ("tasks", "corpora"), ("release", "transcription"), ("bin", "registration"),
}  # fmt: skip
ESPNET = {"espnet", "espnet2", "espnet3", "espnetez"}
MAY_IMPORT_ESPNET = {"model", "e2e_asr_conformer", "tasks", "decode", "bin", "espnet_compat", "registration"}
MODULE_NAME = re.compile(r"(espnet2?|espnetez|espnet_vivit)(\.\w+)+(:\w+)?")


def imports_of(source: str) -> Iterator[str]:
    """Full names of all that a module imports, at its top or inside, and module names it holds as text ("a.b:c")."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    prose = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here (ruff's TID252)"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            if MODULE_NAME.fullmatch(node.value):
                yield node.value.replace(":", ".")


def file_of(module: str) -> str | None:
    """ "espnet_vivit.frontend.resnet.ResNet" -> "frontend/resnet.py"; None for the package's own names and others."""
    names = module.split(".")
    if names[0] != "espnet_vivit":
        return None
    for end in range(len(names), 1, -1):
        path = Path(*names[1:end])
        if (PACKAGE / path).is_dir():
            return str(path / "__init__.py")
        if (PACKAGE / f"{path}.py").is_file():
            return f"{path}.py"
    return None


def violations(path: str, source: str) -> list[str]:
    """What the module at `path` (relative to the package) imports and may not."""
    room = path.split("/")[0].removesuffix(".py")
    found = []
    for module in imports_of(source):
        if module.split(".")[0] in ESPNET and room not in MAY_IMPORT_ESPNET:
            found.append(f"{path} imports {module}")
        file = file_of(module)
        target = file and file.split("/")[0].removesuffix(".py")
        if target in (None, room):
            continue
        if ORDER.index(target) > ORDER.index(room) or (room, target) in WALLS:
            found.append(f"{path} imports {module}")
    return found


def pairs_that_import_each_other(sources: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of files, lazy imports included."""
    imported = {path: {file_of(module) for module in imports_of(source)} for path, source in sources.items()}
    return [(a, b) for a in imported for b in imported[a] if b in imported and a < b and a in imported[b]]


def modules() -> dict[str, str]:
    return {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, espnet_vivit, espnet_vivit.errors, espnet_vivit.units; "
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    assert python("-c", code).stdout.strip() == ""


def test_importing_the_package_is_quick():
    """Python's own count of the time inside the import, best of three: a busy machine must not decide."""

    def seconds() -> float:
        report = python("-X", "importtime", "-c", "import espnet_vivit").stderr
        cumulative = re.search(r"\|\s*(\d+)\s*\|\s*espnet_vivit$", report, flags=re.MULTILINE)
        return int(cumulative.group(1)) / 1e6

    assert min(seconds() for _ in range(3)) < IMPORT_LIMIT_S


@pytest.mark.parametrize("name", espnet_vivit.__all__)
def test_public_names_resolve_to_what_their_module_defines(name):
    value = getattr(espnet_vivit, name)
    assert name in dir(espnet_vivit)
    if name != "__version__":
        assert getattr(sys.modules[espnet_vivit._PUBLIC[name]], name) is value


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'vivit_encodr'"):
        _ = espnet_vivit.vivit_encodr


def test_rooms_import_only_rooms_above_them():
    assert [
        line for path, source in modules().items() if path != "__init__.py" for line in violations(path, source)
    ] == []


def test_every_room_has_its_place_in_the_order():
    rooms = {path.split("/")[0].removesuffix(".py") for path in modules()} - {"__init__"}
    assert rooms == set(ORDER)


def test_no_two_files_import_each_other():
    assert pairs_that_import_each_other(modules()) == []


def test_two_planted_files_that_import_each_other_are_seen():
    sources = {
        "media/mouth_clip.py": "from espnet_vivit.media.files.source import x",
        "media/files/source.py": "def f():\n    from espnet_vivit.media import mouth_clip",
    }
    assert pairs_that_import_each_other(sources) == [("media/files/source.py", "media/mouth_clip.py")]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("media/planted.py", "from espnet_vivit.frontend import presets"),
        ("frontend/planted.py", "def f():\n    import espnet_vivit.data.data_dir"),
        ("model/fusion.py", "from espnet_vivit.data.data_dir import read_data_dir"),
        ("corpora/planted.py", "from espnet_vivit import tasks"),
        ("tasks/planted.py", "from espnet_vivit.corpora import grid_crops"),
        ("evaluation/score.py", "from espnet_vivit.bin.cli import main"),
        ("evaluation/planted.py", "from espnet_vivit.decode.package import Package"),
        ("release/planted.py", "from espnet_vivit.transcription.transcriber import Transcriber"),
        ("decode/planted.py", "def f():\n    from espnet_vivit.bin.avsr_tokens import main"),
        ("evaluation/score.py", "import espnet2.tasks.asr"),
        ("frontend/planted.py", "from espnet.nets import beam_search"),
        ("media/planted.py", "load('espnet2.train.dataset:ESPnetDataset')"),
    ],
)
def test_a_planted_violation_is_seen(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("media/planted.py", "from espnet_vivit.errors import MediaError\nfrom espnet_vivit.media import mouth_clip"),
        ("corpora/planted.py", "from espnet_vivit import __version__\nfrom espnet_vivit.media.mouth_clip import x"),
        ("decode/planted.py", "from espnet_vivit.evaluation.calibration import MIN_CONFIDENCE"),
        ("tasks/planted.py", "from espnet2.tasks.asr import ASRTask"),
        ("evaluation/score.py", '"""espnet2.tasks.asr"""\nimport espnet_models'),
    ],
)
def test_what_is_allowed_is_not_reported(path, source):
    assert violations(path, source) == []


def test_every_module_says_what_it_is():
    assert [path for path, source in modules().items() if not ast.get_docstring(ast.parse(source))] == []


def definitions(source: str) -> Iterator[tuple[str, int, int, int]]:
    """(name, lines, lines after signature and docstring, parameters) of functions; of dataclasses, their fields."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            code = node.body[1:] if ast.get_docstring(node) else node.body
            first = code[0].lineno if code else node.end_lineno
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            parameters = sum(each.arg not in ("self", "cls") for each in taken)
            yield node.name, node.end_lineno - node.lineno + 1, node.end_lineno - first + 1, parameters
        elif isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(each) for each in node.decorator_list):
            yield node.name, 0, 0, sum(isinstance(each, ast.AnnAssign) for each in node.body)


def too_big(source: str, *, allowed: Collection[str] = ()) -> list[str]:
    """What is too long or takes too much; of those allowed, the code alone is counted."""
    found = []
    for name, lines, code, parameters in definitions(source):
        if (code if name in allowed else lines) > MOST_LINES:
            found.append(f"{name} has {lines} lines")
        if parameters > MOST_PARAMETERS and name not in allowed:
            found.append(f"{name} takes {parameters} parameters")
    return found


def test_functions_fit_a_screen_and_take_what_can_be_remembered():
    found = {path: too_big(source, allowed=SCHEMAS.get(path, ())) for path, source in modules().items()}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_what_may_take_more_does():
    for path, names in SCHEMAS.items():
        assert [line.split()[0] for line in too_big(modules()[path]) if "parameters" in line] == list(names), path


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n" + "    x = 1\n" * MOST_LINES,
        f"class C:\n    def __init__(self, {', '.join(f'a{n}' for n in range(MOST_PARAMETERS))}, *, b): ...",
        "@dataclass(frozen=True)\nclass C:\n" + "".join(f"    a{n}: int\n" for n in range(MOST_PARAMETERS + 1)),
    ],
)
def test_what_is_planted_too_big_is_seen(source):
    assert len(too_big(source)) == 1


@pytest.fixture(scope="module")
def metadata() -> dict:
    """The `project` table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of this tree in which a recipe has been run."""
    (builder,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    if (found := installed_version("setuptools")) not in Requirement(builder).specifier:
        pytest.skip(f"a build needs {builder}; here is {found}, as ESPnet 202511 wants less than 74")
    folder = tmp_path_factory.mktemp("wheel")
    tree, out = folder / "tree", folder / "dist"
    for name in ("espnet_vivit", "conf", "egs", "egs3"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "data", "dump", "exp"))
        if name == "espnet_vivit":  # it has rooms of these names
            shutil.copytree(PACKAGE / "data", tree / name / "data", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tree)
    for name in ("egs/mini_av/avsr1/exp/avsr_x/config.yaml", "egs3/grid/avsr/exp/training/config.yaml"):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text("left: by a run\n")
    python(
        "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(out), str(tree)
    )
    (wheel,) = out.glob("espnet_vivit-*-py3-none-any.whl")
    return wheel


def test_the_wheel_holds_every_module_and_the_recipes_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name.removeprefix("espnet_vivit/") for name in names if not name.split("/")[0].endswith(".dist-info")}
    templates = {f"templates/{path.name}" for path in (PACKAGE / "templates").iterdir()}
    assert templates and packed == {
        *modules(),
        "py.typed",
        *templates,
        *(f"recipes/{file}" for file in shipped_files(ROOT)),
    }
    assert {"LICENSE", "NOTICE", "entry_points.txt"} <= {Path(name).name for name in names}


def test_from_an_unpacked_wheel_a_recipe_is_made_and_presets_are_found(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")  # which loses the permissions
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import espnet_vivit; from espnet_vivit.bin.cli import main;"
        "from espnet_vivit.tasks.presets import configuration_file; print(configuration_file('tiny_both'));"
        "sys.exit(main(['new-recipe', 'mini_av', sys.argv[2]]))"
    )
    printed = python("-c", code, str(tmp_path / "site"), str(tmp_path / "x")).stdout
    assert printed.startswith(f"{tmp_path}/site/espnet_vivit/recipes/conf/train_tiny_both.yaml\n")
    help_text = subprocess.run(
        [tmp_path / "x/run.sh", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "mini_av: a synthetic audio-visual corpus" in help_text.stdout


def test_the_console_script_leads_to_the_command_line(metadata):
    from espnet_vivit.bin import cli

    assert metadata["scripts"] == {"espnet-vivit": "espnet_vivit.bin.cli:main"}
    assert callable(cli.main)


@pytest.mark.parametrize(
    ("lock", "python_version"),
    [
        ("constraints.txt", "3.13"),
        ("constraints.txt", "3.12"),
        ("constraints-espnet202511.txt", "3.12"),
        ("constraints-espnet202511.txt", "3.11"),
        ("constraints-espnet202511.txt", "3.10"),
    ],
)
def test_the_locked_versions_satisfy_what_the_package_asks_for(metadata, lock, python_version):
    lines = [line.split("#")[0].strip() for line in (ROOT / lock).read_text().splitlines()]
    locked = {}
    for requirement in (Requirement(line) for line in lines if line):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python_version}):
            assert requirement.name not in locked, f"{requirement.name} is locked twice for Python {python_version}"
            (pin,) = requirement.specifier
            locked[requirement.name] = pin.version
    asked = [Requirement(text) for text in metadata["dependencies"]]
    asked += [Requirement(text) for texts in metadata["optional-dependencies"].values() for text in texts]
    compared = [requirement for requirement in asked if requirement.name in locked]
    assert len(compared) >= 20
    for requirement in compared:
        assert requirement.specifier.contains(locked[requirement.name]), f"{requirement}: {locked[requirement.name]}"


def test_the_formatter_has_one_version_everywhere(metadata):
    wanted = metadata["optional-dependencies"]["dev"]
    (version,) = [r.removeprefix("ruff==") for r in wanted if r.startswith("ruff")]
    for lock in ("constraints.txt", "constraints-espnet202511.txt"):
        assert f"ruff=={version}\n" in (ROOT / lock).read_text()
    assert f"rev: v{version} " in (ROOT / ".pre-commit-config.yaml").read_text()


def test_the_citation_names_this_version():
    assert f"\nversion: {espnet_vivit.__version__}\n" in (ROOT / "CITATION.cff").read_text()
