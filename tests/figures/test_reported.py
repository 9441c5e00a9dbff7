"""Stage report: one arm at constant paths, and what is said where report.md is older."""

import subprocess
import sys

import pandas as pd
import pytest
import yaml

from mammo import paths
from mammo.storage.files import read_json, write_json
from support.made_up_results import made_up_results, write_results
from support.pipeline_copy import ROOT

ABCD = ["A", "B", "C", "D"]


@pytest.fixture
def reported(tmp_path):
    """Finished evaluations of two arms, and the stage that reports one: write it, then run it."""
    results = made_up_results(["head_only", "full"], ABCD, epochs=2)
    write_results(results, tmp_path)
    for name, result in results.items():
        write_json(result.metrics, tmp_path / paths.EVALUATE_METRICS / f"{name}.json")
    params = tmp_path / paths.PARAMS
    settings = yaml.safe_load(params.read_text())
    settings |= {"strategy": "full", "dataset": {"classes": "a_b_c_d"}}
    params.write_text(yaml.safe_dump(settings))
    (tmp_path / paths.PARAMETERS).mkdir(parents=True)
    present = {"parameters": results["full"].metrics["parameters"]}
    write_json(present, tmp_path / paths.PARAMETERS / "full.json")

    def run(compared=None):
        if compared is not None:
            write_json({"strategies": compared}, tmp_path / paths.COMPARE_METRICS)
        return subprocess.run(
            [sys.executable, ROOT / "stages/report.py"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT / "src"), "PATH": "", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )

    return run, results["full"].metrics["parameters"], tmp_path


@pytest.mark.parametrize(
    ("compared", "there"),
    [
        ({"full": {"parameters": "ffffffffffff"}}, "ffffffffffff"),
        ({"full": {}}, "none"),  # a comparison that noted none
        ({"head_only": {"parameters": "0123456789ab"}}, "none"),  # the arm is newer than it
    ],
)
def test_a_comparison_of_other_parameters_is_named(reported, compared, there):
    run, parameters, folder = reported
    done = run(compared)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        f"report.md is of other parameters (full: {parameters}, there {there}), and so are the "
        "charts of all strategies; `dvc repro` brings them up to date"
    ]
    assert read_json(folder / paths.REPORT_METRICS)["parameters"] == parameters


def test_a_row_of_another_strategy_that_is_stale_is_named_too(reported):
    run, parameters, folder = reported
    write_json({"parameters": "aaaaaaaaaaaa"}, folder / paths.PARAMETERS / "last_block.json")
    compared = {"full": {"parameters": parameters}, "last_block": {"parameters": "bbbbbbbbbbbb"}}
    assert "(last_block: aaaaaaaaaaaa, there bbbbbbbbbbbb)" in run(compared).stderr


@pytest.mark.slow
def test_a_comparison_of_the_same_parameters_or_none_at_all_is_not_spoken_of(reported):
    run, parameters, _ = reported
    assert run().stderr == ""
    assert run({"full": {"parameters": parameters}}).stderr == ""


def test_every_table_of_the_report_is_marked_with_its_parameters(reported):
    run, parameters, folder = reported
    assert run().returncode == 0
    tables = sorted((folder / paths.REPORT_PLOTS).glob("*.csv"))
    assert len(tables) >= 5
    for table in tables:
        assert set(pd.read_csv(table, dtype=str)["parameters"]) == {parameters}, table.name
