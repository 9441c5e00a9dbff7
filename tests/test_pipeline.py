"""The pipeline as DVC runs it: from nothing, again, after changes, as experiments."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline_copy import ROOT, TINY, PipelineCopy

ARMS = ("head_only", "last_block")
ALL = [
    "check", "phantom", "ingest", "preprocess", "split", "weights",
    *(f"{stage}@{arm}" for stage in ("embed", "train", "evaluate") for arm in ARMS),
    "plot", "compare", "report",
]  # fmt: skip
AFTER_TRAINING = [f"{s}@{a}" for s in ("train", "evaluate") for a in ARMS]
LAST = ["plot", "compare", "report"]
COMMITTED = ("metrics/**/*", "plots/**/*", "dvc.lock", "report.md")


def make_copy(folder):
    return PipelineCopy(folder, TINY, drop=("strategies.full",))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    copy = make_copy(tmp_path_factory.mktemp("pipeline"))
    (copy.folder / "dvc.lock").unlink(missing_ok=True)
    ran = copy.repro()
    assert sorted(ran) == sorted(ALL)
    copy.commit("first run")
    return copy


def test_a_second_repro_does_nothing_and_git_stays_clean(pipeline):
    assert pipeline.repro() == []
    assert pipeline.run("git", "status", "--porcelain").stdout == ""


def test_two_clones_give_the_same_bytes(pipeline, tmp_path):
    other = make_copy(tmp_path)
    (other.folder / "dvc.lock").unlink(missing_ok=True)
    for folder in ("metrics", "plots"):
        shutil.rmtree(other.folder / folder, ignore_errors=True)
    other.repro()
    first, second = pipeline.read_bytes(*COMMITTED), other.read_bytes(*COMMITTED)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_nothing_private_is_committed(pipeline):
    """No path, patient or accession of the data set is in Git, in any file."""
    names = [line.split(",")[1] for line in (pipeline.folder / "data/files.csv").open()][1:]
    patients = {Path(name).parts[-2] for name in names}
    tracked = pipeline.run("git", "ls-files").stdout.split()
    committed = [n for n in tracked if n.startswith(("metrics/", "plots/"))] + ["report.md"]
    text = b"".join((pipeline.folder / name).read_bytes() for name in committed)
    assert not [p for p in patients if p.encode() in text]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("split.test_fold", 2, ["split", *AFTER_TRAINING, *LAST]),
        ("balancing.weighted_sampler", False, [*AFTER_TRAINING, *LAST]),
        ("strategies.head_only.lr", 0.01, ["train@head_only", "evaluate@head_only", *LAST[:2]]),
        (
            "strategies.last_block.unfreeze_last_blocks",
            2,
            ["embed@last_block", "train@last_block", "evaluate@last_block", *LAST],
        ),
        (
            "preprocess.crop",
            False,
            ["preprocess", *(f"embed@{arm}" for arm in ARMS), *AFTER_TRAINING, *LAST],
        ),
        ("collapse.action", "stop", [*AFTER_TRAINING, *LAST]),
    ],
)
def test_a_changed_parameter_reruns_what_depends_on_it(pipeline, key, value, expected):
    before = pipeline.folder / "params.yaml"
    original = before.read_text()
    pipeline.set_params({key: value})
    ran = pipeline.repro()
    before.write_text(original)
    pipeline.run("git", "checkout", "-q", ".")
    pipeline.run("dvc", "checkout", "-q", "--force")
    # whose inputs came out the same is skipped, so the last stages may be fewer
    assert set(ran) - set(LAST) - {"check", "evaluate@head_only", "evaluate@last_block"} == set(
        expected
    ) - set(LAST) - {"evaluate@head_only", "evaluate@last_block"}
    assert set(ran) <= {"check", *expected}


def test_a_changed_label_decodes_and_embeds_nothing(pipeline):
    table = pipeline.folder / "data/phantom/labels.csv"
    pipeline.run("cp", "-r", "data/phantom", "own")
    pipeline.set_params(
        {"dataset.root": "own", "dataset.table": "own/labels.csv", "dataset.key_file": "public"}
    )
    pipeline.repro()
    table = pipeline.folder / "own/labels.csv"
    lines = table.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.endswith(",C"))
    lines[row] = lines[row][:-1] + "B"
    table.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig")
    ran = pipeline.repro()
    assert {"ingest", "split"} < set(ran)
    assert not {"preprocess", "weights", "embed@head_only", "embed@last_block"} & set(ran)


def test_an_added_image_decodes_that_image_alone(pipeline):
    """Continues with the copy of the data set that the test before made."""
    own = pipeline.folder / "own"
    if not own.exists():
        pytest.skip("needs the data set that the test of a changed label makes")
    lines = (own / "labels.csv").read_text(encoding="utf-8-sig").splitlines()
    removed = lines.pop()
    (own / "labels.csv").write_text("\n".join(lines) + "\n")
    pipeline.repro("split")
    (own / "labels.csv").write_text("\n".join([*lines, removed]) + "\n")
    (pipeline.folder / ".cache").rename(pipeline.folder / ".cache-whole")
    pipeline.repro("split")
    done = pipeline.run("dvc", "repro", "--force", "--single-item", "preprocess")
    assert "of 64 images are in the scratch store" in done.stderr + done.stdout
    (own / "labels.csv").write_text("\n".join(lines) + "\n")


def test_an_edited_module_reruns_the_stages_that_reach_it(pipeline):
    module = pipeline.folder / "src/mammo/splits.py"
    module.write_text(module.read_text() + "\n# a comment\n")
    ran = pipeline.repro()
    pipeline.run("git", "checkout", "-q", ".")
    assert "split" in ran and "train@head_only" in ran
    assert not {"phantom", "ingest", "preprocess", "weights", "embed@head_only"} & set(ran)


def test_experiments_choose_the_strategy_and_diff_the_metrics(pipeline):
    pipeline.run("git", "checkout", "-q", ".")
    pipeline.run("dvc", "checkout", "-q", "--force")
    done = pipeline.run("dvc", "exp", "run", "-S", "strategy=head_only")
    assert "Running stage 'report'" in done.stdout
    assert "Running stage 'train" not in done.stdout
    diff = json.loads(pipeline.run("dvc", "metrics", "diff", "--json", "HEAD").stdout)
    changes = diff["metrics/report.json"]
    assert changes["strategy"]["new"] == "head_only"
    pipeline.run("git", "checkout", "-q", ".")


def test_with_the_target_report_one_arm_alone_trains(pipeline):
    pipeline.run("git", "checkout", "-q", ".")
    change = ["-S", "strategy=head_only", "-S", "strategies.head_only.lr=2e-5"]
    done = pipeline.run("dvc", "exp", "run", *change, "report")
    ran = [s for s in ALL if f"Running stage '{s}'" in done.stdout]
    assert ran == ["check", "train@head_only", "evaluate@head_only", "report"]
    pipeline.run("git", "checkout", "-q", ".")
    pipeline.run("dvc", "checkout", "-q", "--force")


def test_a_queued_sweep_runs_the_code_that_was_queued(pipeline):
    pipeline.run("git", "checkout", "-q", ".")
    sweep = ["--queue", "-S", "strategies.last_block.lr=1e-5,3e-5", "report"]
    pipeline.run("dvc", "exp", "run", *sweep)
    stage = pipeline.folder / "stages/train.py"
    original = stage.read_text()
    stage.write_text("raise SystemExit('the edited code ran')\n")
    try:
        pipeline.run("dvc", "queue", "start", "-j", "1")
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            status = pipeline.run("dvc", "queue", "status").stdout
            if "Queued" not in status and "Running" not in status.split("Worker status")[0]:
                break
            time.sleep(2)
    finally:
        stage.write_text(original)
    assert status.count("Success") == 2, status
    rows = json.loads(pipeline.run("dvc", "exp", "show", "--json").stdout)
    text = json.dumps(rows)
    assert "1e-05" in text and "3e-05" in text


def test_an_unknown_strategy_stops_at_check_with_a_clear_word(pipeline):
    done = pipeline.run("dvc", "exp", "run", "-S", "strategy=half", check=False)
    assert done.returncode != 0
    assert (
        "params.yaml: strategy: must be one of head_only, last_block" in done.stderr + done.stdout
    )
    assert "Traceback" not in done.stderr
    pipeline.run("git", "checkout", "-q", ".")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_training_goes_on_and_ends_the_same(pipeline, number):
    pipeline.run("git", "checkout", "-q", ".")
    pipeline.run("dvc", "checkout", "-q", "--force")
    pipeline.set_params({"strategies.head_only.epochs": 40, "train.checkpoint_every_s": 0})
    command = [sys.executable, "stages/train.py", "head_only"]
    env = {**os.environ, "PYTHONPATH": "src"}
    history = pipeline.folder / "plots/training/head_only/history.csv"
    history.unlink()
    victim = subprocess.Popen(command, cwd=pipeline.folder, env=env, stderr=subprocess.DEVNULL)
    while not history.exists() or history.read_text().count("\n") < 10:
        assert victim.poll() is None, "the training ended before it could be killed"
        time.sleep(0.02)
    victim.send_signal(number)
    assert victim.wait() != 0
    resumed = subprocess.run(
        command, cwd=pipeline.folder, env=env, capture_output=True, text=True, check=True
    )
    assert "goes on after epoch" in resumed.stderr
    kept = pipeline.read_bytes("models/head_only/*", "plots/training/head_only/*")
    subprocess.run(command, cwd=pipeline.folder, env=env, capture_output=True, check=True)
    assert kept == pipeline.read_bytes("models/head_only/*", "plots/training/head_only/*")
    assert not list((pipeline.folder / ".cache/train").glob("*"))
    pipeline.run("git", "checkout", "-q", ".")
    pipeline.run("dvc", "checkout", "-q", "--force")


def test_the_committed_lock_belongs_to_this_code(tmp_path):
    """In a clone without data, outs are missing, but no code, parameter or command differs."""
    if not (ROOT / "dvc.lock").exists():
        pytest.fail("dvc.lock is not there: run `dvc repro` and commit it")
    copy = PipelineCopy(tmp_path, {})
    shutil.copy2(ROOT / "params.yaml", copy.folder / "params.yaml")
    status = json.loads(copy.run("dvc", "status", "--json", "dvc.yaml").stdout)
    stale = {}
    for stage, changes in status.items():
        for change in changes:
            if change == "changed command":
                stale[stage] = change
                continue
            for path, state in change.get("changed deps", {}).items():
                if state != "deleted":
                    stale[f"{stage}: {path}"] = state
            for path, state in change.get("changed outs", {}).items():
                if state not in ("deleted", "not in cache"):
                    stale[f"{stage}: {path}"] = state
    assert stale == {}
