"""Stage phantom draws nothing where the data set is one's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mammo.params import read_params

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_ones_own_data_leaves_an_empty_folder(tmp_path):
    values = read_params()
    values["dataset"]["root"] = "/archive/images"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    done = subprocess.run(
        [sys.executable, ROOT / "stages/phantom.py"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "data/phantom").iterdir()) == []
    assert (
        tmp_path / "data/phantom_truth.csv"
    ).read_text() == "image_path,dense_share,true_class\n"
    assert (tmp_path / "metrics/phantom.json").read_text() == "{}\n"
