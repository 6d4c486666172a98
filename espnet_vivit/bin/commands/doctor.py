"""What works on this machine, what is missing, and what to type about it.

    espnet-vivit doctor

Versions are compared with what the installed package itself asks for (its metadata), so nothing is said twice. The
parts that fail in ways a version does not show are tried (doctor_trials.py): torch, its devices and mixed
precision, video codecs, detectors of faces, 4-bit weights, espeak-ng. ESPnet is looked up, not imported: that takes ten
seconds and more.
Exit code 0: everything that is needed works, whatever optional parts are missing; 1: something needed does not.
"""

import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata

from espnet_vivit.base.finding import OK, Finding
from espnet_vivit.base.installation import clone
from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.bin.commands.doctor_trials import ABSENT, BROKEN, TRIALS, installed_version
from espnet_vivit.version import __version__

DISTRIBUTION = "espnet-vivit"
PYTHONS = ((3, 10), (3, 13))  # first and last that are supported
NEEDED = ("", "media")  # "" is the package itself; without `media` nothing can be prepared or transcribed
EXTRAS = {  # extra -> what it is for; the development tools are left out
    "media": "video and sound files",
    "faces": "the better face detector",
    "recipes": "training and scoring",
    "qlora": "4-bit towers with LoRA",
    "mini_av": "speech of the synthetic corpus",
    "export": "models as ONNX files",
    "page": "the page to try a model on",
    "cluster": "preparing data on several machines",
}


def check_python(version: tuple[int, int]) -> Finding:
    first, last = ("{}.{}".format(*v) for v in PYTHONS)
    found = "{}.{}".format(*version)
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return Finding(OK, "Python", found)
    return Finding(BROKEN, "Python", found, f"use a Python from {first} to {last}")


def check_requirements(
    requirements: Sequence[str], version_of: Callable[[str], str | None] = installed_version
) -> Iterator[Finding]:
    """One finding per requirement (PEP 508, as in a package's metadata) of this Python, the needed ones first."""
    from packaging.requirements import Requirement

    parsed = [each for each in map(Requirement, requirements) if each.name != DISTRIBUTION]  # an extra may name another
    for extra in ("", *EXTRAS):
        for requirement in parsed:
            if _belongs_to(requirement, extra):
                yield _check_requirement(requirement, version_of(requirement.name), extra)


def _belongs_to(requirement, extra: str) -> bool:
    """Whether `extra` ("" is the package itself) asks for the requirement; what is needed anyway is no extra's."""
    if requirement.marker is None:
        return extra == ""
    needed = requirement.marker.evaluate({"extra": ""})
    return needed if extra == "" else not needed and requirement.marker.evaluate({"extra": extra})


def _check_requirement(requirement, found: str | None, extra: str) -> Finding:
    wanted = f"{requirement.name}{requirement.specifier}"
    name = f"{requirement.name} ({EXTRAS[extra]})" if extra else requirement.name
    if found is not None and requirement.specifier.contains(found, prereleases=True):
        return Finding(OK, name, found)
    state = BROKEN if extra in NEEDED else ABSENT
    return Finding(state, name, found or "not installed", f"pip install '{wanted}'")


def diagnose() -> list[Finding]:
    """Every check, in the order of the report."""
    findings = [check_python(sys.version_info[:2])]
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        folder = clone()
        fix = f"pip install {DISTRIBUTION}" if folder is None else f"in {folder}: make install (or pip install -e .)"
        findings.append(Finding(BROKEN, DISTRIBUTION, "imported from a folder, not installed", fix))
        requirements = []
    findings += check_requirements(requirements)
    return [*findings, *(trial() for trial in TRIALS)]


def report(findings: Sequence[Finding]) -> str:
    """The findings as aligned lines, each fix below its line, and a closing sentence."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"  {finding.state:8}  {finding.name:{width}}  {finding.found}")
        if finding.fix:
            lines.append(f"            -> {finding.fix}")
    broken = [finding.name for finding in findings if finding.state == BROKEN]
    verdict = f"{len(broken)} needed and not working: {', '.join(broken)}" if broken else "everything needed works"
    return "\n".join([*lines, verdict])


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit doctor",
        description="Report what works on this machine, what is missing and how to install it. Exit code 1: an error.",
        epilog="example: espnet-vivit doctor",
    )
    parser.parse_args(argv)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    print(f"espnet-vivit {__version__}, Python {platform.python_version()} on {machine}")
    findings = diagnose()
    print(report(findings))
    return int(any(finding.state == BROKEN for finding in findings))
