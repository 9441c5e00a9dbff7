"""`make forget`: a patient who withdraws consent is in nothing that the checkout keeps."""

import os
import subprocess
import sys

import pytest

from support.chaos import SMALL
from support.decoding import mammogram
from support.pipeline_copy import ROOT, PipelineCopy

PATIENTS = 8


@pytest.fixture
def pipeline(tmp_path):
    own = tmp_path / "own"
    rows = ["image_path,patient_id,laterality,view,density"]
    for number in range(PATIENTS):
        name = f"patient-{number}"
        for view in ("CC", "MLO"):
            path = own / name / f"{view}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = 2 * number + (view == "MLO")
            tags = {"PatientID": name, "ViewPosition": view, "SOPInstanceUID": f"1.2.3.{seed + 1}"}
            path.write_bytes(mammogram(seed, **tags))
            rows.append(f"{name}/{view}.dcm,{name},L,{view},{'BC'[number % 2]}")
    (own / "labels.csv").write_text("\n".join(rows) + "\n")
    named = {
        "dataset.root": str(own),
        "dataset.table": str(own / "labels.csv"),
        "dataset.key_file": "public",
    }
    return PipelineCopy(tmp_path / "checkout", SMALL | named)


def forget(pipeline, *arguments):
    tool = [sys.executable, str(ROOT / "tools/forget.py"), "patient-3", "--target", "split"]
    return pipeline.run("env", f"PYTHONPATH={ROOT / 'src'}", *tool, *arguments, check=False)


def plan(folder, patient):
    """Say what would be forgotten in a folder that is laid out as the pipeline's."""
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/forget.py"), patient],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("patient", "code", "said"),
    [
        ("patient-3", 1, "corrections.csv: still names images of 'patient-3'"),
        ("patient-33", 0, "data/files.csv names no such patient"),
    ],
)
def test_a_correction_that_is_left_and_an_unknown_patient_are_named(tmp_path, patient, code, said):
    (tmp_path / "data").mkdir()
    files = tmp_path / "data/files.csv"
    files.write_text("key,path,patient_id\n00c92da6e1ec3255,gone.dcm,patient-3\n")
    (tmp_path / "params.yaml").write_text(
        "dataset: {root: own, table: own/labels.csv, corrections: corrections.csv}\n"
    )
    (tmp_path / "corrections.csv").write_text(
        "key,old,new,who,when\n00c92da6e1ec3255,A,B,reader,today\n"
    )
    done = plan(tmp_path, patient)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert files.exists()


def test_a_patient_is_found_in_either_unicode_form(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own/here.dcm").write_bytes(b"an image")
    (tmp_path / "data/files.csv").write_text("key,path,patient_id\n00c9,here.dcm,Jos\u00e9\n")
    (tmp_path / "params.yaml").write_text("dataset: {root: own, table: own/labels.csv}\n")
    done = plan(tmp_path, "Jose\u0301")
    assert done.returncode == 1 and "own/here.dcm" in done.stderr


def test_the_scratch_store_of_the_studies_goes_too(tmp_path):
    for kept in (".cache/images", "studies/.cache/pooled", "studies/.dvc/tmp/exps"):
        (tmp_path / kept).mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/files.csv").write_text("key,path,patient_id\n00c9,gone.dcm,patient-3\n")
    (tmp_path / "params.yaml").write_text(
        "dataset: {root: own, table: own/labels.csv, corrections: corrections.csv}\n"
    )
    done = plan(tmp_path, "patient-3")
    planned = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert {"rm -r .cache", "rm -r studies/.cache", "rm -r studies/.dvc/tmp/exps"} <= {*planned}


def test_what_params_yaml_names_is_kept_where_it_lies_in_data(tmp_path):
    for own in ("own/a.dcm", "tables/labels.csv", "corrections.csv", "dataset.key", "nets/a.pth"):
        (tmp_path / "data" / own).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / own).write_text("own")
    (tmp_path / "data/files.csv").write_text("key,path,patient_id\n00c9,gone.dcm,patient-3\n")
    (tmp_path / "params.yaml").write_text(
        "dataset:\n  root: data/own\n  table: data/tables/labels.csv\n"
        "  corrections: data/corrections.csv\n  key_file: data/dataset.key\n"
        "backbone: {file: data/nets/a.pth}\n"
    )
    done = plan(tmp_path, "patient-3")
    assert done.returncode == 0, done.stderr
    removed = [line for line in done.stdout.splitlines() if line.startswith("rm -r")]
    assert removed == ["rm -r data/files.csv"]


@pytest.mark.slow
def test_a_patient_is_removed_from_all_that_is_kept(pipeline, tmp_path):
    pipeline.repro("split")
    own = tmp_path / "own"
    refused = forget(pipeline, "--yes")
    assert refused.returncode == 1
    assert "patient-3/CC.dcm" in refused.stderr and "still there" in refused.stderr

    studied = pipeline.folder / "studies/seeds/data/cells/probe-0/predictions.csv"
    studied.parent.mkdir(parents=True)
    studied.write_text("key,patient\n0123,patient-3\n")
    pixels = pipeline.read_bytes("data/tensors/shard-*.npy")
    for view in ("CC", "MLO"):
        (own / "patient-3" / f"{view}.dcm").unlink()
    planned = forget(pipeline)
    assert planned.returncode == 0 and "nothing was done" in planned.stdout
    assert pipeline.read_bytes("data/tensors/shard-*.npy") == pixels

    lines = (own / "labels.csv").read_text().splitlines(keepends=True)
    (own / "labels.csv").write_text("".join(line for line in lines if "patient-3" not in line))
    done = forget(pipeline, "--yes")
    assert done.returncode == 0, done.stderr
    assert not studied.exists()
    files = (pipeline.folder / "data/files.csv").read_text()
    assert "patient-3" not in files and files.count("patient-") >= 2 * (PATIENTS - 1)
    code = {".git", "tests", "studies"}
    everywhere = [p for p in pipeline.folder.rglob("*") if p.is_file() and not code & {*p.parts}]
    before = next(iter(pixels.values()))
    for path in everywhere:
        content = path.read_bytes()
        assert b"patient-3" not in content, path
        assert before[200:] not in content, path
    assert "Git's history" in done.stdout
