"""The pipeline as DVC runs it: from nothing, again, after changes, as experiments."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from support.pipeline_copy import ALL, ARMS, DROPPED, ROOT, TINY, PipelineCopy

pytestmark = pytest.mark.slow

COMMITTED = ("metrics/**/*", "plots/**/*", "dvc.lock", "report.md")


def make_copy(folder):
    return PipelineCopy(folder, TINY, drop=DROPPED)


@pytest.fixture(scope="module")
def pipeline(finished, tmp_path_factory):
    return finished.duplicate(tmp_path_factory.mktemp("pipeline") / "copy")


@pytest.fixture
def restored(pipeline):
    """The finished pipeline, put back after the test."""
    yield pipeline
    pipeline.reset()


def test_a_first_repro_runs_every_stage(finished):
    assert sorted(finished.ran) == ALL


def test_a_second_repro_does_nothing_and_git_stays_clean(pipeline):
    assert pipeline.repro() == []
    assert pipeline.run("git", "status", "--porcelain").stdout == ""


def test_two_clones_give_the_same_bytes(pipeline, tmp_path):
    other = make_copy(tmp_path / "other")
    other.repro()
    first, second = pipeline.read_bytes(*COMMITTED), other.read_bytes(*COMMITTED)
    assert first.keys() == second.keys()
    # From nothing, DVC writes stages down in the order in which it ran them, and which of two
    # independent ones comes first is open; in a clone, the committed lock's order stays.
    locks = (yaml.safe_load(files.pop("dvc.lock")) for files in (first, second))
    assert next(locks) == next(locks)
    assert [name for name in first if first[name] != second[name]] == []


def test_nothing_private_is_committed(pipeline):
    """No path, patient or accession of the data set is in Git, in any file."""
    names = [line.split(",")[1] for line in (pipeline.folder / "data/files.csv").open()][1:]
    patients = {Path(name).parts[-2] for name in names}
    tracked = pipeline.run("git", "ls-files").stdout.split()
    committed = [n for n in tracked if n.startswith(("metrics/", "plots/"))] + ["report.md"]
    text = b"".join((pipeline.folder / name).read_bytes() for name in committed)
    assert not [p for p in patients if p.encode() in text]


# ---- what reruns: the table of docs/architecture.md


def changed_stages(pipeline):
    """Name the stages whose own code, parameters or inputs differ; others follow from them."""
    status = json.loads(pipeline.run("dvc", "status", "--json").stdout)
    return sorted(status)


def known(*stages):
    """Sort the names, each `S@` once for every strategy."""
    names = []
    for stage in stages:
        names += [f"{stage}{arm}" for arm in ARMS] if stage.endswith("@") else [stage]
    return sorted(set(names))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("split.test_fold", 2, ["split"]),
        ("balancing.power", 1.0, ["train@", "compare", "bundle", "review"]),
        ("train.seed", 1, ["train@"]),
        ("head.model", "multinomial", ["train@", "compare", "bundle", "review"]),
        ("loss.label_smoothing", 0.1, ["train@", "compare", "bundle", "review"]),
        ("collapse.patience", 3, ["train@", "evaluate@", "ensemble"]),
        (
            "strategies.head_only.lr",
            0.01,
            ["train@head_only", "plot", "compare"],
        ),
        (
            "strategies.last_block.epochs",
            4,
            ["train@last_block", "plot", "compare"],
        ),
        (
            "strategies.last_block.unfreeze_last_blocks",
            2,
            ["embed@last_block", "train@last_block", "plot", "compare"],
        ),
        ("preprocess.crop", False, ["preprocess", "bundle"]),
        ("augment.rotate_deg", 5, ["embed@", "train@"]),
        ("embed.views", 2, ["embed@"]),
        ("backbone.seed", 1, ["weights", "embed@", "train@", "evaluate@", "bundle"]),
        ("compare.seed", 1, ["compare", "bundle"]),
        ("evaluate.test_time_flip", False, ["evaluate@", "ensemble", "bundle"]),
        ("phantom.seed", 2, ["phantom"]),
        ("ingest.policies.spot_view", "flag", ["ingest", "bundle"]),
    ],
)
def test_a_changed_parameter_touches_exactly_the_stages_that_read_it(
    restored, key, value, expected
):
    restored.set_params({key: value})
    assert changed_stages(restored) == known("check", *expected)


# `review` follows from `bundle`, which notes the SHA-256 of its code.
JUDGED = ["evaluate@", "ensemble", "compare", "report", "bundle"]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("cohort/splits", [*JUDGED, "ingest", "split", "train@"]),
        ("dicom/greyscale", ["ingest", "preprocess", "sheet", "bundle"]),
        ("evaluation/collapse", [*JUDGED, "train@"]),
        ("figures/tables", ["plot", "compare", "report"]),
        ("embedding/augment", ["embed@", "train@", "evaluate@", "compare", "bundle"]),
        ("comparison/page", ["compare", "bundle"]),
        ("pages/style", ["sheet", "review"]),
    ],
)
def test_an_edited_module_touches_exactly_the_stages_that_reach_it(restored, module, expected):
    path = restored.folder / f"src/mammo/{module}.py"
    path.write_text(path.read_text() + "\n# a comment\n")
    assert changed_stages(restored) == known("check", *expected)


AFTER_TRAINING = ["evaluate@", "ensemble", "plot", "compare"]
REPORTED = ["report", "bundle", "review"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"split.test_fold": 2}, ["split", "train@", *AFTER_TRAINING, *REPORTED]),
        (
            {"strategies.last_block.lr": 1e-5},
            ["train@last_block", "evaluate@last_block", "ensemble", "plot", "compare"],
        ),
        ({"strategy": "head_only"}, REPORTED),
        (
            {"strategies.last_block.unfreeze_last_blocks": 2},
            [f"{stage}@last_block" for stage in ("embed", "train", "evaluate")]
            + ["ensemble", "plot", "compare"],
        ),
    ],
    ids=["test fold", "rate of another strategy", "strategy", "cut of another strategy"],
)
def test_a_change_reruns_exactly_what_the_table_says(restored, changes, expected):
    restored.set_params(changes)
    assert sorted(restored.repro()) == known("check", *expected)


@pytest.fixture(scope="module")
def own_data(finished, tmp_path_factory):
    """The phantom as a user's own data, in a folder that DVC doesn't write, short of an image."""
    pipeline = finished.duplicate(tmp_path_factory.mktemp("own") / "copy")
    own = pipeline.folder / "own"
    shutil.copytree(pipeline.folder / "data/phantom", own)
    shutil.rmtree(pipeline.folder / ".cache")
    lines = (own / "labels.csv").read_text().replace("dicom/", "").splitlines()
    (own / "dicom" / lines[-1].split(",")[0]).rename(own / "later.dcm")
    (own / "labels.csv").write_text("\n".join(lines[:-1]) + "\n")
    changes = {"dataset.root": "own/dicom", "dataset.table": "own/labels.csv"}
    pipeline.set_params({**changes, "dataset.key_file": "public"})
    pipeline.repro()
    return pipeline, own, lines


def test_a_label_decodes_and_embeds_nothing_and_an_added_image_itself_alone(own_data):
    pipeline, own, lines = own_data
    row = next(i for i, line in enumerate(lines) if line.endswith(",C"))
    lines[row] = lines[row][:-1] + "B"
    text = "\ufeff" + "\r\n".join(lines[:-1]) + "\r\n"  # BOM and CRLF just work
    (own / "labels.csv").write_bytes(text.encode())
    after_a_label = ["ingest", "split", "train@", "sheet", *AFTER_TRAINING, *REPORTED]
    assert sorted(pipeline.repro()) == known(*after_a_label)

    def decoded():
        kept = (pipeline.folder / ".cache/images").rglob("*")
        return {p: p.stat().st_mtime_ns for p in kept if p.is_file()}

    before = decoded()
    (own / "later.dcm").rename(own / "dicom" / lines[-1].split(",")[0])
    (own / "labels.csv").write_text("\n".join(lines) + "\n")
    assert sorted(pipeline.repro()) == known(*after_a_label, "preprocess", "embed@")
    after = decoded()
    each = len(before) // 63  # entries that the store keeps of an image
    assert len(before) == 63 * each > 0
    assert len(after) == 64 * each
    assert before.items() <= after.items()


# ---- experiments


def test_experiments_choose_the_strategy_and_diff_the_metrics(pipeline):
    pipeline.reset()
    done = pipeline.run("dvc", "exp", "run", "-S", "strategy=head_only")
    assert "Running stage 'report'" in done.stdout
    assert "Running stage 'train" not in done.stdout
    diff = json.loads(pipeline.run("dvc", "metrics", "diff", "--json", "HEAD").stdout)
    changes = diff["metrics/report.json"]
    assert changes["strategy"]["new"] == "head_only"
    pipeline.reset()


def test_with_the_target_report_one_arm_alone_trains(pipeline):
    pipeline.reset()
    change = ["-S", "strategy=head_only", "-S", "strategies.head_only.lr=2e-5"]
    done = pipeline.run("dvc", "exp", "run", *change, "report")
    ran = [s for s in ALL if f"Running stage '{s}'" in done.stdout]
    assert ran == ["check", "evaluate@head_only", "report", "train@head_only"]
    pipeline.reset()


def test_a_queued_sweep_runs_the_code_that_was_queued(pipeline):
    pipeline.reset()
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
    assert f"params.yaml: strategy: must be one of {', '.join(ARMS)}" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    pipeline.reset()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_training_goes_on_and_ends_the_same(pipeline, number):
    pipeline.reset()
    pipeline.set_params({"strategies.last_block.epochs": 40, "train.checkpoint_every_s": 0})
    command = [sys.executable, "stages/train.py", "last_block"]
    env = {**os.environ, "PYTHONPATH": "src"}
    history = pipeline.folder / "plots/training/last_block/history.csv"
    history.unlink()
    victim = subprocess.Popen(
        command,
        cwd=pipeline.folder,
        env=env,
        stderr=subprocess.DEVNULL,
        # a test run started in the background may itself ignore SIGINT, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not history.exists() or history.read_text().count("\n") < 10:
        assert victim.poll() is None, "the training ended before it could be killed"
        time.sleep(0.02)
    victim.send_signal(number)
    assert victim.wait() != 0
    resumed = subprocess.run(
        command, cwd=pipeline.folder, env=env, capture_output=True, text=True, check=True
    )
    assert "goes on after epoch" in resumed.stderr
    kept = pipeline.read_bytes("models/last_block/*", "plots/training/last_block/*")
    subprocess.run(command, cwd=pipeline.folder, env=env, capture_output=True, check=True)
    assert kept == pipeline.read_bytes("models/last_block/*", "plots/training/last_block/*")
    assert not list((pipeline.folder / ".cache/train").glob("*"))
    pipeline.reset()


@pytest.mark.shared
def test_real_mammograms_go_through_from_dicom_to_report(shared, tmp_path):
    """A subset of patients of CDD-CESM, with ImageNet's parameters from a file."""
    source = shared / "data" / "cdd-cesm"
    table = pd.read_csv(source / "labels.csv", dtype=str)
    chosen = sorted(table["patient_id"].unique())[::3]  # every third patient
    subset = table[table["patient_id"].isin(chosen)]
    subset.to_csv(tmp_path / "labels.csv", index=False)
    copy = PipelineCopy(
        tmp_path / "copy",
        {
            **TINY,
            "dataset.root": str(source / "dicom"),
            "dataset.table": str(tmp_path / "labels.csv"),
            "dataset.key_file": "public",
            "split.missing_class": "warn",
            "preprocess.size_px": 96,
            "backbone.arch": "mobilenet_v2",
            "backbone.weights": "file",
            "backbone.file": str(shared / "weights" / "mobilenet_v2-imagenet.safetensors"),
            "head.model": "multinomial",
        },
        drop=DROPPED,
    )
    done = copy.run("dvc", "repro")
    assert "class A is missing from" in done.stderr + done.stdout

    ingested = json.loads((copy.folder / "metrics/ingest.json").read_text())
    assert ingested["accepted"] == len(subset)
    # the folder holds the other patients' files too: each is listed, none is used
    assert ingested["rejected"] == {"file_not_in_table": len(table) - len(subset)}
    metrics = json.loads((copy.folder / "metrics/evaluate/head_only.json").read_text())
    assert metrics["classes_present"] == 3
    assert metrics["recall_A"] is None
    learnt = json.loads((copy.folder / "metrics/train/head_only.json").read_text())
    assert learnt["train"]["kappa"] > 0.2  # random parameters stay at 0 on these images
    train = json.loads((copy.folder / "metrics/train/last_block.json").read_text())
    # the last block's 320 x 1,280 weights, scales and shifts; no parameters for class A, which no
    # training image has: 412,160 + 3 x (1,280 + 1)
    assert train["trainable_parameters"] == 412_160 + 3_843
    deployed = pd.read_csv(copy.folder / "plots/evaluation/head_only/predictions.csv")
    assert set(deployed["patient"]).isdisjoint(chosen)  # keys, not identifiers


def test_the_committed_lock_belongs_to_this_code(tmp_path):
    """In a clone without data, outs are missing, but no code, parameter or command differs."""
    if not (ROOT / "dvc.lock").exists():
        pytest.fail("dvc.lock is not there: run `dvc repro` and commit it")
    copy = PipelineCopy(tmp_path, {}, with_results=True)
    shutil.copy2(ROOT / "params.yaml", copy.folder / "params.yaml")
    assert copy.stale("dvc.yaml") == {}
