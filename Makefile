# Each target sets up .venv first, once. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help install test quick recipe slow older lint format types docs demo faces wheel release clean distclean

PYTHON_VENV := .venv/bin/python
WORKERS ?= 2
# One thread per worker: more of them on the same cores only wait for each other.
PYTEST_OPTIONS = --durations=10 -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PYTEST = OMP_NUM_THREADS=1 $(PYTHON_VENV) -m pytest $(PYTEST_OPTIONS)
# What ESPnet's own code decides: run again under the older release that is supported.
OLDER = tests/contracts tests/parity tests/tasks tests/decode tests/recipes tests/test_espnet_compat.py

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install:  ## .venv with the package and all it needs; nothing on a second call
	@tools/setup_venv.sh

test: install lint types  ## everything that guards a change: lint, types, quick suite, recipe smoke run
	@echo "== tests: the quick suite and the recipe smoke run, $(WORKERS) at a time"
	@$(PYTEST) -m "not slow"

quick: install  ## the quick suite alone
	@$(PYTEST) -m "not slow and not recipe"

recipe: install  ## every stage of the recipe on a handful of clips
	@$(PYTEST) -m "recipe and not slow"

slow: install  ## the tests that `make test` leaves out
	@$(PYTEST) -m slow

older:  ## the tests of what ESPnet decides, under ESPnet 202511 in an environment of its own
	@ESPNET=202511 tools/setup_venv.sh
	@echo "== tests under ESPnet 202511"
	@OMP_NUM_THREADS=1 .venv-espnet202511/bin/python -m pytest $(PYTEST_OPTIONS) -m "not slow" $(OLDER)

lint: install  ## ruff: rules and format
	@echo "== lint: ruff"
	@$(PYTHON_VENV) -m ruff check .
	@$(PYTHON_VENV) -m ruff format --check .

format: install  ## ruff: mend what can be mended
	@$(PYTHON_VENV) -m ruff check --fix .
	@$(PYTHON_VENV) -m ruff format .

types: install  ## pyright, basic: no errors
	@echo "== types: pyright"
	@$(PYTHON_VENV) -m pyright --pythonpath $(PYTHON_VENV)

docs: install  ## the documentation as a site in site/; broken links are errors
	@$(PYTHON_VENV) tools/write_configuration_page.py
	@NO_MKDOCS_2_WARNING=1 $(PYTHON_VENV) -m mkdocs build --strict --quiet
	@echo "== docs: site/index.html"

demo: install  ## render the synthetic corpus, train, decode, print word error rates (under 30 minutes on two cores)
	@started=$$(date +%s); \
	(cd egs/mini_av/avsr1 && PYTHON="$(CURDIR)/$(PYTHON_VENV)" ./run.sh $(DEMO_ARGS)); status=$$?; \
	echo "== demo: $$(( $$(date +%s) - started )) s"; exit $$status

faces: install  ## MediaPipe, the better face detector, and its model file (14 MB)
	@$(PYTHON_VENV) -m pip install --quiet --disable-pip-version-check -e ".[faces]"
	@$(PYTHON_VENV) -m espnet_vivit.bin.cli face-model

wheel: install  ## dist/*.whl
	@$(PYTHON_VENV) -m pip wheel --no-deps --wheel-dir dist .

release: install  ## sdist and wheel of the tag on HEAD in dist/, tried in a fresh environment; uploads nothing
	@tools/build_release.sh

clean:  ## remove build products and caches; .venv, data and experiments stay
	@rm -rf build dist site *.egg-info .pytest_cache .ruff_cache
	@find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## also remove the environments
	@rm -rf .venv .venv-espnet202511
