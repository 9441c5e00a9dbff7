"""A solved strategy holds on another kind of arithmetic, and doesn't hear of the seed."""

import copy
import shutil

import pandas as pd
import pytest
import yaml

import stability
from mammo.params import read_params
from mammo.storage.files import write_json, write_table
from studies.cells.arms import overridden
from studies.cells.workspace import run_stages
from support.pipeline_copy import ROOT

SOLVED = "head_only"


@pytest.fixture(scope="module")
def values():
    """The committed parameters on a small phantom, with the committed network."""
    small = [
        "phantom.images=300", "phantom.rows=256", "phantom.columns=208", "phantom.min_patients=5",
        "phantom.class_shares={A: 3, B: 4, C: 5, D: 4}", "preprocess.size_px=128",
        "preprocess.workers=1", "embed.views=1", "compute.threads=2",
    ]  # fmt: skip
    return overridden(read_params(ROOT / "params.yaml"), small, "test")


@pytest.mark.slow
def test_a_solved_strategy_gives_the_same_answers_on_another_arithmetic(values, tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    shutil.copy(ROOT / values["dataset"]["corrections"], tmp_path)
    run_stages(tmp_path, ["phantom", "ingest", "preprocess", "split"])
    strategies = list(dict.fromkeys([SOLVED, values["strategy"]]))
    found = stability.measure(tmp_path, values, strategies)
    assert list(found["strategies"]) == strategies
    for name, facts in found["strategies"].items():
        assert facts["solved"], name
        assert stability.meets(facts), (name, facts)
        assert facts["train_seed"] == {"same": 1, "kappa": 0, "kappa_quadratic": 0}, name
        assert f"`{name}` (solved" in stability.page(found)
    assert found["arithmetic"][1]["dtype"] == "float32"
    assert found["arithmetic"][1]["instructions"] == "AVX2"


def test_tensors_that_are_not_there_are_asked_for(values, tmp_path):
    with pytest.raises(stability.UserError, match=r"index\.csv: must exist; run `make repro`"):
        stability.measure(tmp_path, values, [SOLVED])


def write_run(folder, predictions, kappa):
    folder = folder / "plots" / "evaluation" / "s"
    folder.mkdir(parents=True)
    table = pd.DataFrame(predictions, columns=["key", "split", "prediction"])
    write_table(table, folder / "predictions.csv")
    write_json({"kappa": kappa, "kappa_quadratic": kappa / 2}, folder / "metrics.json")


def test_answers_are_compared_image_by_image_on_test_alone(tmp_path):
    test = [("b", "test", "A"), ("c", "test", "B"), ("d", "test", "C"), ("e", "test", "D")]
    write_run(tmp_path / "one", [("a", "val", "A"), *test], 0.5)
    other = [("b", "test", "B"), *test[1:]]
    write_run(tmp_path / "other", [*reversed(other), ("a", "val", "D")], 0.46)
    found = stability.compare_runs(tmp_path / "one", tmp_path / "other", "s")
    assert found == stability.Difference(same=0.75, kappa=0.04, kappa_quadratic=0.02)


def test_the_page_gives_no_tolerance_where_both_runs_compute_alike():
    old = {"device": "CPU", "instructions": "AVX2", "convolutions": "AVX2 or less"}
    old["dtype"] = "float32"
    apart = {"same": 0.94, "kappa": 0.031, "kappa_quadratic": 0.02}
    none = {"same": 1.0, "kappa": 0.0, "kappa_quadratic": 0.0}
    facts = {"kappa": 0.5, "reported": False, "solved": True, "elsewhere": apart}
    found = {
        "machine": "a machine", "arithmetic": [old, old], "test_images": 10,
        "strategies": {"s": {**facts, "train_seed": none}},
    }  # fmt: skip
    assert "no tolerance is given" in stability.page(found)
    assert "94.0%" not in stability.page(found)
    differing = copy.deepcopy(found)
    differing["arithmetic"][0] = {**old, "instructions": "AVX512", "dtype": "bfloat16"}
    assert "| 94.0% | 0.031 | 0.020 | missed |" in stability.page(differing)
    assert "Here: bfloat16 (AVX512, AVX2 or less). Elsewhere: float32" in stability.page(differing)


@pytest.mark.parametrize(
    ("solved", "reported", "same", "kappa", "expected"),
    [
        (True, False, 0.95, 0.03, True),
        (True, False, 0.94, 0.0, False),
        (True, False, 1.0, 0.031, False),
        (False, True, 0.5, 0.03, True),
        (False, True, 1.0, 0.04, False),
        (False, False, 0.5, 0.5, None),
    ],
)
def test_targets_are_those_of_solved_and_of_reported_strategies(
    solved, reported, same, kappa, expected
):
    facts = {"solved": solved, "reported": reported, "elsewhere": {"same": same, "kappa": kappa}}
    assert stability.meets(facts) is expected
