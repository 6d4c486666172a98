"""The workflows and templates of the repository: valid YAML, targets that exist, and no package host by name."""

import re

import pytest
import yaml

from tests.pages import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def steps(path) -> list[dict]:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_step_runs_a_target_that_exists_or_python(path):
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        if target := re.match(r"make (\w+)", step.get("run", "")):
            assert re.search(rf"^{target.group(1)}:", MAKEFILE, flags=re.MULTILINE)
        elif "run" in step:
            assert ".venv/bin/python -m" in step["run"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_ends_and_reads_only(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())


def test_the_tests_run_on_every_python_and_the_gate_is_whole():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    run = {step.get("run") for step in steps(ROOT / ".github" / "workflows" / "tests.yml")}
    assert {"make test", "make types", "make docs", "make wheel"} <= run


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms_have_what_the_host_asks_for(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name != "config.yml":
        assert {"name", "description", "body"} <= set(form)
        assert all({"type", "attributes"} <= set(field) and field["attributes"]["label"] for field in form["body"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_package_host_is_named(path):
    assert not re.search(r"https?://|--index-url|--extra-index-url|--find-links", path.read_text(encoding="utf-8"))
