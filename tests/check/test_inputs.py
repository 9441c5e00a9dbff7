"""What params.yaml names is looked for before anything runs."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mammo.check.inputs import check_inputs
from mammo.errors import UserError
from support.params import change
from support.read_only import run_beside_read_only

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def own(values, tmp_path):
    """Make params.yaml name a data set of one's own, all of it there."""
    (tmp_path / "images/deep").mkdir(parents=True)
    (tmp_path / "labels.csv").write_text("image_path\n")
    (tmp_path / "dataset.key").write_text("k" * 40)
    change(values, "dataset.root", str(tmp_path / "images"))
    change(values, "dataset.table", str(tmp_path / "labels.csv"))
    change(values, "dataset.key_file", str(tmp_path / "dataset.key"))
    return values


def test_what_params_name_is_found_and_noted(own, values, tmp_path):
    assert check_inputs(own) == {
        "dataset.key_file": tmp_path / "dataset.key",
        "backbone.file": None,
    }
    change(own, "dataset.key_file", "public")
    assert check_inputs(own)["dataset.key_file"] is None


def test_the_phantom_need_not_be_drawn_yet(values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corrections.csv").write_text("key,old,new,who,when\n")
    check_inputs(values)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"dataset.root": "/no/such"}, r"dataset\.root: no such folder, got '/no/such'"),
        ({"dataset.table": "/no/table"}, r"dataset\.table: no such file, got '/no/table'"),
        ({"dataset.table": "/"}, r"dataset\.table: must be a table .*: csv, got the folder '/'"),
        ({"dataset.key_file": "/no/key"}, r"dataset\.key_file: no such file.*token_hex"),
        ({"dataset.key_file": None}, r"dataset\.key_file: needed for .*images"),
        (
            {"backbone.weights": "file", "backbone.file": "/no/w.pth"},
            r"backbone\.file: no such file, got '/no/w.pth'",
        ),
    ],
)
def test_what_params_name_and_is_not_there_is_refused_before_anything_runs(own, changes, complaint):
    for key, value in changes.items():
        change(own, key, value)
    with pytest.raises(UserError, match=complaint):
        check_inputs(own)


@pytest.fixture
def checkout(values, tmp_path):
    """A folder in which stage check runs: the committed params.yaml, and what it names."""

    def write(**changes):
        for key, value in changes.items():
            change(values, key.replace("__", "."), value)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        (tmp_path / "corrections.csv").write_text("key,old,new,who,when\n")
        (tmp_path / "data").mkdir()
        return [sys.executable, str(ROOT / "stages/check.py")]

    return write


@pytest.mark.parametrize(
    "text",
    [
        "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 9\n",
        "<!DOCTYPE html>\n<title>Sign in</title>",
        "Rate limit exceeded",  # the unpickler reads an R as an order, and fails on it
        "",
    ],
)
def test_a_pth_of_text_ends_the_check_with_one_line(checkout, tmp_path, text):
    weights = tmp_path / "theirs.pth"
    weights.write_text(text)
    command = checkout(backbone__weights="file", backbone__file=str(weights))
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(
        f"error: {weights}: backbone.file must be what torch.save writes, got text that begins "
        f"with {text.splitlines()[0] if text else ''!r}; "
    )
    assert "download the file anew" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data/check.txt").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_no_text(own, tmp_path, zipped):
    torch.save(
        {"weight": torch.zeros(3)},
        tmp_path / "w.pth",
        _use_new_zipfile_serialization=zipped,
    )
    change(own, "backbone.weights", "file")
    change(own, "backbone.file", str(tmp_path / "w.pth"))
    assert check_inputs(own)["backbone.file"] == tmp_path / "w.pth"


def test_a_read_only_folder_ends_the_check_with_one_line(checkout, tmp_path):
    command = checkout()
    done = run_beside_read_only(tmp_path / "data", command, tmp_path, ENVIRONMENT)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert re.match(
        r"error: data/\S+: (Read-only file system: .*write to another one"
        r"|Permission denied: check the permissions); the traceback is in logs/",
        done.stderr,
    ), done.stderr
    assert "Traceback" not in done.stderr and not list((tmp_path / "data").iterdir())


def test_a_fifo_and_a_socket_below_the_root_are_refused_by_name(own, tmp_path):
    os.mkfifo(tmp_path / "images/deep/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        try:
            server.bind("images/socket")
        finally:
            os.chdir(ROOT)
        with pytest.raises(UserError) as raised:
            check_inputs(own)
    assert "images/deep/pipe: is a FIFO" in str(raised.value)
    assert "images/socket: is a socket" in str(raised.value)
