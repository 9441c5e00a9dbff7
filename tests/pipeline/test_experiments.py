"""The Experiments blocks of README and docs, top to bottom, from a fresh rebuild."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import WIDTH, read_experiments
from support.pipeline_copy import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.rebuild]

# A command, what it prints, and what it leaves.
LINE = re.compile(r'^(?!#)(.+)\n# prints "(.*?)"; .*?leaves (.*)$', re.MULTILINE)
AS_IT_WAS = "the workspace as it was"


def experiments_block(page):
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    block = next(b for b in blocks if "# prints" in b)
    lines = LINE.findall(block)
    assert len(lines) == len([line for line in block.splitlines() if not line.startswith("#")])
    return [(command, printed, left.split(", ")[-1]) for command, printed, left in lines]


@pytest.fixture(scope="module")
def copy(finished, tmp_path_factory):
    copy = finished.duplicate(tmp_path_factory.mktemp("experiments") / "copy")
    # what `make setup` leaves: `make experiments` must not make an environment here
    (copy.folder / ".venv").mkdir()
    (copy.folder / ".venv/.runtime").touch()
    return copy


def follow(copy, page):
    for command, printed, left in experiments_block(page):
        before = copy.run("git", "status", "--porcelain").stdout
        done = copy.run("bash", "-c", command)
        assert printed in done.stdout + done.stderr, f"{command}:\n{done.stdout}\n{done.stderr}"
        after = copy.run("git", "status", "--porcelain").stdout
        if left == AS_IT_WAS:
            assert after == "", command
        elif left == "all as it is":
            assert after == before, command
        else:
            assert " M params.yaml" in after.splitlines(), command


def test_the_block_of_the_readme_works_as_a_script(copy):
    follow(copy, "README.md")
    shown = json.loads(copy.run("dvc", "exp", "show", "--json").stdout)
    found = {e.name: e for e in read_experiments(shown)}
    assert found["head"].changed == {"strategy": "head_only"}
    swept = [e for e in found.values() if "strategies.last_block.epochs" in e.changed]
    assert len(swept) == 2 and len({model_of(copy, shown, e.name) for e in swept}) == 2


def model_of(copy, shown, name):
    """The digest of the model that an experiment trained."""
    entry = next(e for e in shown[1]["experiments"] if e["name"] == name)
    lock = copy.run("git", "show", f"{entry['revs'][0]['rev']}:dvc.lock").stdout
    return re.search(r"path: models/last_block\n.*?md5: (\w+)", lock, re.DOTALL)[1]


def test_the_list_of_experiments_fits_a_screen_best_first(copy):
    lines = copy.run("python", "tools/experiments.py").stdout.splitlines()
    heading = lines[0].split()
    assert len(heading) <= 8 and max(map(len, lines)) <= WIDTH == 120
    rows = [line for line in lines[1:] if not line.startswith(" ")]
    from_end = heading[::-1].index("val_kappa") + 1
    ranked = [float(value) for row in rows if (value := row.split()[-from_end]) != "-"]
    assert ranked == sorted(ranked, reverse=True) and len(ranked) >= 4
    assert "strategies.last_block.lr=1e-05" in copy.run("python", "tools/experiments.py").stdout


def test_the_block_of_the_docs_works_as_a_script(copy):
    follow(copy, "docs/experiments.md")
    assert "other-fold" in copy.run("git", "branch").stdout


def test_commands_without_a_target_know_the_pipeline_alone(copy):
    """What lies in studies/ is a DVC repository of its own."""
    assert "up to date" in copy.run("dvc", "status").stdout
    nodes = copy.run("dvc", "dag", "--dot").stdout
    assert "report" in nodes and "studies" not in nodes
    files = [p for p in (copy.folder / "models").rglob("*") if p.is_file()]
    for path in files:
        path.unlink()
    copy.run("dvc", "checkout", "--allow-missing")
    assert all(path.is_file() for path in files)
    copy.run("dvc", "gc", "-f", "-w", "--projects", "studies")
    assert "up to date" in copy.run("dvc", "status").stdout
    assert copy.repro() == []


def test_the_code_of_a_copy_goes_before_the_installed_project(tmp_path):
    """`make setup` installs the checkout's; a queued run must not import that."""
    (tmp_path / "src/mammo").mkdir(parents=True)
    (tmp_path / "src/mammo/__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", "import mammo; print(mammo.__file__)"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
