"""What a tool can't do ends in one line that says why, and changes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mammo.errors import UserError
from readme_result import with_result

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("tool", "params", "said"),
    [
        ("params_form", "strategy:\n", "params.yaml: strategy: must name one of strategies"),
        ("params_form", "strategy: [\n", "params.yaml: not valid YAML"),
        ("experiments", "strategy: probe\n", "`dvc exp show` ended with"),
        ("readme_result", "strategy: probe\n", "report.md: no such file"),
        ("verify_cache", "strategy: probe\n", "`dvc cache dir` ended with"),
    ],
)
def test_a_tool_ends_with_a_message(tmp_path, tool, params, said):
    (tmp_path / "params.yaml").write_text(params)
    done = subprocess.run(
        [sys.executable, str(ROOT / f"tools/{tool}.py")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {said}") and "Traceback" not in done.stderr
    assert (tmp_path / "params.yaml").read_text() == params


def test_a_key_that_an_older_params_yaml_lacks_is_named_before_anything_is_removed(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/files.csv").write_text("key,path,patient_id\n00c9,gone.dcm,one\n")
    (tmp_path / "params.yaml").write_text("dataset: {root: own, table: own/labels.csv}\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/forget.py"), "one", "--yes"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml: dataset.corrections: missing")
    assert (tmp_path / "data/files.csv").exists()


def test_files_that_a_broken_params_yaml_names_are_a_fault_beside_the_others(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/outside.json").write_text("{}")
    (tmp_path / "params.yaml").write_text("a: [\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/verify_kept.py")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and not done.stderr
    assert "params.yaml: not valid YAML" in done.stdout
    assert "1 not as they were written" in done.stdout


def test_a_readme_without_markers_and_a_report_without_tables_are_named():
    readme, report = (ROOT / name for name in ("README.md", "report.md"))
    with pytest.raises(UserError, match=r"README\.md: must hold the lines <!-- result -->"):
        with_result("# Mine", report.read_text("utf-8"))
    with pytest.raises(UserError, match=r"report\.md: must hold the tables"):
        with_result(readme.read_text("utf-8"), "x")
