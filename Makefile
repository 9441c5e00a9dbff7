# `make repro` and `make test` need Python 3.11-3.13, git, make and a package registry; no more.

PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := src
export DVC_NO_ANALYTICS := 1

.PHONY: repro setup test fuzz bench tune params lock clean-cache

repro: setup               ## Rebuild whatever isn't up to date.
	dvc repro

setup: $(VENV)/.runtime    ## Make .venv with the pinned packages, and the offline page of plots.

$(VENV)/.runtime: requirements.txt tools/offline_plots.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: $(PYTHON) must be Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q -r requirements.txt
	$(VENV)/bin/python tools/offline_plots.py
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@

test: $(VENV)/.dev         ## Format check, lint, types, floors, tests with coverage.
	ruff format --check .
	ruff check .
	lint-imports --no-logo
	mypy
	mypy --config-file tests/mypy.ini
	pytest --cov --cov-report=term:skip-covered

fuzz: $(VENV)/.dev         ## Damage real files in over a thousand ways; none may decode wrongly.
	python tests/support/fuzz.py

bench: setup               ## Time training beside a plain reference: benchmarks/results.md (16 minutes).
	python benchmarks/bench.py

tune: setup                ## Measure this machine; print the lines for params.yaml.
	python benchmarks/tune.py

params: setup              ## Put params.yaml into the form that `dvc exp run -S` writes.
	python tools/params_form.py

lock: $(VENV)/.dev         ## Compile both locks anew from pyproject.toml, with the newest versions.
	uv pip compile pyproject.toml --upgrade --universal --python-version 3.11 \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--quiet -o requirements.txt
	uv pip compile --group dev --upgrade --universal --python-version 3.11 -c requirements.txt \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--quiet -o requirements-dev.txt
