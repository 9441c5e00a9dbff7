# `make repro` and `make test` need Python 3.11-3.13, git, make and a package registry; no more.

PYTHON ?= python3
VENV := .venv
PIP = $(VENV)/bin/python -m pip install --disable-pip-version-check -q --no-deps
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := src
export DVC_NO_ANALYTICS := 1

.PHONY: help repro setup extras test longtest fuzz chaos check verify forget bench stability tune params readme experiments lock

repro: setup               ## Rebuild whatever isn't up to date.
	dvc repro

help:                      ## List the targets.
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: $(VENV)/.runtime    ## Make .venv with the pinned packages and the command mammo, and the offline page of plots.

# --no-deps: the lock is complete. PYTHONPATH=src of a stage goes before the installed project.
$(VENV)/.runtime: requirements.txt pyproject.toml tools/offline_plots.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: $(PYTHON) must be Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) --no-build-isolation -e .
	$(VENV)/bin/python tools/offline_plots.py
	touch $@

extras: $(VENV)/.dev       ## Add what is optional (ONNX, DICOM SR, Dask, Optuna, S3, SSH) and what tests need.

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	$(PIP) --require-hashes -r requirements-dev.txt
	touch $@

test: $(VENV)/.dev         ## Format check, lint, types, floors, tests with coverage.
	ruff format --check .
	ruff check .
	lint-imports --no-logo
	mypy
	mypy --config-file tests/mypy.ini
	pytest -m "not rebuild" -n 2 --dist loadfile --cov --cov-report=term:skip-covered

longtest: test             ## Also what rebuilds the pipeline many times: experiments, remotes, studies.
	pytest -m rebuild

fuzz: $(VENV)/.dev         ## Damage real files in over a thousand ways; none may decode wrongly.
	python tests/support/fuzz.py

chaos: $(VENV)/.dev        ## Kill, flip, fill and race the pipeline for five minutes; nothing may end silently wrong.
	PYTHONPATH=src:tests python tests/support/chaos.py --seconds 300

check: setup               ## Look at params.yaml, and for missing and special files, before DVC does.
	python stages/check.py

verify: setup              ## Hash DVC's cache and all that is kept anew; name what a disk has damaged.
	python tools/verify_kept.py; kept=$$?; python tools/verify_cache.py && exit $$kept

forget: setup              ## Remove a patient who withdrew consent: make forget PATIENT=… [YES=1]; docs/withdrawal.md.
	@test -n "$(PATIENT)" || { echo "error: name the patient: make forget PATIENT=…"; exit 1; }
	python tools/forget.py "$(PATIENT)" $(if $(YES),--yes)

bench: setup               ## Time training beside a plain reference: benchmarks/results.md (8 to 15 minutes).
	python benchmarks/bench.py

stability: setup           ## Train and judge with two kinds of arithmetic and two seeds: benchmarks/stability.md.
	PYTHONPATH=src:. python benchmarks/stability.py

tune: setup                ## Measure this machine; print the lines for params.yaml.
	python benchmarks/tune.py

params: setup              ## Put params.yaml into the form that `dvc exp run -S` writes.
	python tools/params_form.py

readme:                    ## Put the results of report.md into the README, after a run.
	python tools/readme_result.py

experiments: setup         ## List the experiments, best first, in few columns.
	@python tools/experiments.py

COMPILE := uv pip compile pyproject.toml --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet
# What requirements.txt holds stands in no other lock a second time.
REST = -c requirements.txt $$(sed -n 's/^\([a-z0-9_.-]*\)==.*/--no-emit-package \1/p' requirements.txt | sort -u)

lock: $(VENV)/.dev         ## Compile the four locks anew from pyproject.toml, with the newest versions.
	$(COMPILE) --group setup -o requirements.txt
	$(COMPILE) --group dev --all-extras $(REST) -o requirements-dev.txt
	$(COMPILE) --extra s3 $(REST) -c requirements-dev.txt -o requirements-s3.txt
	$(COMPILE) --extra ssh $(REST) -c requirements-dev.txt -o requirements-ssh.txt
