"""The pages that users read, and what stands in them: code blocks, commands, links, paths and headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md"))]
_FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is (or None), and its text."""

    language: str
    title: str | None
    text: str


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[Block]:
    found = [Block(*match.groups()) for match in _FENCE.finditer(page.read_text(encoding="utf-8"))]
    return [block for block in found if block.language == language]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command: lines of bash blocks (a line that ends in a backslash goes on), and inline code."""
    for block in blocks(page, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words
    for code in re.findall(r"`([^`]+)`", prose(page)):
        if code.startswith(("espnet-vivit ", "python -m ", "make ")):
            yield shlex.split(code)


def links(page: Path) -> set[str]:
    """Targets of Markdown links and pictures that are no web addresses."""
    return set(re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as mkdocs and Git hosts make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


def paths(page: Path) -> set[str]:
    """Files and folders of the repository that the page names as code."""
    folders = "benchmarks|conf|egs|espnet_vivit|examples|tests|tools|docs|.github"
    found = re.findall(rf"(?<![\w/.-])((?:{folders})/[\w./-]*\w)", page.read_text(encoding="utf-8"))
    return set(found)
