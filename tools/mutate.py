#!/usr/bin/env python3
"""Do the tests notice a wrong line? Changes one expression at a time and runs the tests of its module.

    nice -n 10 python tools/mutate.py frontend model decode --count 60 --seed 1

A mutant exists in memory alone: a child process, forked after the large imports, loads the changed module in place of
the file. Tests that start further Python processes test the file as it is there, so they notice nothing.
"""

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "espnet_vivit"
ROOMS = ("frontend", "model", "decode", "transcription", "media", "tasks", "corpora")
HEAVY = ("pytest", "torch", "torchaudio", "transformers.models.vivit.modeling_vivit", "espnet2.tasks.asr", "av", "cv2")
VERDICTS = ("noticed", "survived", "not judged")
QUICK = "not slow and not recipe and not gpu"
SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NOT_CODE = (ast.Raise, ast.Assert, ast.JoinedStr)  # words of errors; what only we rely on


class Mutant(NamedTuple):
    """One changed expression: the file, its line, the expression before and after, and the whole changed source."""

    path: Path
    line: int
    before: str
    after: str
    source: str


def mutants_of(path: Path, source: str) -> Iterator[Mutant]:
    """All mutants of a module: comparisons, arithmetic, and/or/not, numbers, truth values, conditions."""
    lines = source.encode().splitlines(keepends=True)
    for node in _expressions(ast.parse(source)):
        assert node.end_col_offset is not None
        for changed in _changes(node):
            line = lines[node.lineno - 1]
            before, after = line[node.col_offset : node.end_col_offset], f"({ast.unparse(changed)})".encode()
            new = line[: node.col_offset] + after + line[node.end_col_offset :]
            whole = b"".join([*lines[: node.lineno - 1], new, *lines[node.lineno :]])
            yield Mutant(path, node.lineno, before.decode(), after.decode(), whole.decode())


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions on one line that are computed: neither annotations nor the words of errors."""
    if isinstance(node, NOT_CODE):
        return
    for name, field in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST):
                yield from _expressions(child)
    if isinstance(node, ast.expr) and node.lineno == node.end_lineno:
        yield node


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    other = copy.deepcopy(node)
    match other:
        case ast.Compare(ops=[op, *_]) if type(op) in SWAPS:
            other.ops[0] = SWAPS[type(op)]()
            yield other
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAPS:
            other.op = SWAPS[type(op)]()
            yield other
        case ast.UnaryOp(op=ast.Not()):
            yield other.operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(value * 2 if value else 1.0)
        case ast.IfExp():
            yield other.body


def tests_of(path: Path) -> list[str]:
    """The test files that mirror a module; where there are none, those that import it."""
    module = path.relative_to(ROOT).with_suffix("")
    mirrored = ROOT / "tests" / module.relative_to(PACKAGE).parent
    found = sorted(mirrored.glob(f"test_{module.name}*.py"))
    if not found:
        line = f"from {'.'.join(module.parts)} import"
        found = [test for test in sorted((ROOT / "tests").rglob("test_*.py")) if line in test.read_text("utf-8")]
    return [str(test.relative_to(ROOT)) for test in found]


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Loads one module from a source of its own."""

    def __init__(self, module: str, mutant: Mutant):
        self.module, self.mutant = module, mutant

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self.mutant.path, loader=self)  # pyright: ignore

    def get_source(self, fullname):
        return self.mutant.source


def run_tests(tests: Sequence[str], module: str, mutant: Mutant | None, *, timeout_s: float) -> str:
    """ "passed", "failed" or "timeout" of the quick tests, in a child process with the mutant (None: as it is)."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _run_in_child(tests, module, mutant)
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "passed" if os.waitstatus_to_exitcode(status) == 0 else "failed"  # also where none is quick
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def _run_in_child(tests: Sequence[str], module: str, mutant: Mutant | None) -> None:
    import pytest

    code = 1
    try:
        os.setsid()
        for descriptor in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        if mutant is not None:
            sys.meta_path.insert(0, _Changed(module, mutant))
        code = int(pytest.main(["-q", "-x", "-m", QUICK, "-p", "pytest_timeout", "-p", "no:cacheprovider", *tests]))
    finally:
        os._exit(code)


def sample(rooms: Sequence[str], count: int, per_module: int, rng: random.Random) -> list[Mutant]:
    """`count` mutants, at most `per_module` of each module of the rooms, modules in a drawn order."""
    paths = sorted(path for room in rooms for path in (ROOT / PACKAGE / room).rglob("*.py"))
    rng.shuffle(paths)
    drawn: list[Mutant] = []
    for path in paths:
        mutants = list(mutants_of(path, path.read_text(encoding="utf-8")))
        if mutants and tests_of(path) and len(drawn) < count:
            drawn += rng.sample(mutants, min(per_module, len(mutants)))
    return drawn[:count]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", default=ROOMS, help=f"folders of {PACKAGE} (default: {' '.join(ROOMS)})")
    parser.add_argument("--count", type=int, default=80, help="number of mutants (default: %(default)s)")
    parser.add_argument("--per_module", type=int, default=3, help="most mutants of a module (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the sample (default: %(default)s)")
    parser.add_argument("--timeout_s", type=float, default=120.0, help="seconds per mutant (default: %(default)s)")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for name in HEAVY:
        importlib.import_module(name)
    verdicts: dict[str, dict[str, int]] = {}
    survivors, plain = [], {}
    for mutant in sample(options.rooms, options.count, options.per_module, random.Random(options.seed)):
        relative = mutant.path.relative_to(ROOT)
        module, room, tests = ".".join(relative.with_suffix("").parts), relative.parts[1], tests_of(mutant.path)
        if module not in plain:
            plain[module] = run_tests(tests, module, None, timeout_s=options.timeout_s)
        verdict = "not judged"  # where its tests fail or last too long as it is
        if plain[module] == "passed":
            passed = run_tests(tests, module, mutant, timeout_s=options.timeout_s) == "passed"
            verdict = "survived" if passed else "noticed"
        verdicts.setdefault(room, dict.fromkeys(VERDICTS, 0))[verdict] += 1
        line = f"{relative}:{mutant.line}: {mutant.before} -> {mutant.after}"
        print(f"{verdict:10} {line}", flush=True)
        survivors += [line] if verdict == "survived" else []
    _print_table(verdicts, survivors)
    return 0


def _print_table(verdicts: dict[str, dict[str, int]], survivors: list[str]) -> None:
    print("\n| room | noticed | survived | not judged | share noticed |\n|---|---:|---:|---:|---:|")
    total = {name: sum(row[name] for row in verdicts.values()) for name in VERDICTS}
    for room, row in [*sorted(verdicts.items()), ("all", total)]:
        judged = max(1, row["noticed"] + row["survived"])
        cells = " | ".join(str(number) for number in row.values())
        print(f"| {room} | {cells} | {100 * row['noticed'] / judged:.0f} % |")
    print("\n".join(["", "Survivors:", *survivors]))


if __name__ == "__main__":
    sys.exit(main())
