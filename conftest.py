"""How a whole run is arranged: recipe runs first where workers share the load, time enough for them, and a tally.

What each test needs (seeds, no network, ../shared) stands in tests/conftest.py.
"""

import pytest

RECIPE_LIMIT_S = 900  # a recipe run is many processes; the quick tests keep the limit of pyproject.toml


def pytest_collection_modifyitems(config, items):
    recipes = [item for item in items if item.get_closest_marker("recipe")]
    for item in recipes:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(RECIPE_LIMIT_S))
    if recipes and hasattr(config, "workerinput"):  # one worker begins with the longest part, the others do the rest
        others = [item for item in items if not item.get_closest_marker("recipe")]
        items[:] = recipes + others


def pytest_terminal_summary(terminalreporter):
    """How much of the time went to the quick suite and how much to the recipe runs, whatever ran beside what."""
    spent = {"quick": 0.0, "recipe": 0.0}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent["recipe" if "recipe" in report.keywords else "quick"] += report.duration
    tally = ", ".join(f"{part} {seconds:.0f} s" for part, seconds in spent.items())
    terminalreporter.write_line(f"time inside tests, all workers together: {tally}")
