"""The studies: what they refuse, what pooling computes, and that they leave the pipeline alone."""

import numpy as np
import pandas as pd
import pytest
import yaml

from mammo.cohort.params import SplitParams
from mammo.comparison.arms import Arm
from mammo.comparison.compare import compare
from mammo.comparison.params import CompareParams
from mammo.errors import UserError
from mammo.params import read_params
from studies.cells.arms import overridden
from studies.cells.cases import fold_cases
from studies.cells.params import check_study
from studies.cells.pooling import pool_folds
from studies.cells.seed_spread import compare_over_seeds, mean_draws
from support.made_up import predictions
from support.pipeline_copy import ROOT

PARAMS = CompareParams(
    draws=200,
    seed=0,
    confidence=0.9,
    calibration_bins=10,
    tested_metrics=["bal_acc_adj", "kappa"],
    false_discovery_rate=0.1,
    histogram={"bins": 8},
)


def test_pooling_counts_every_patient_once_where_a_mean_over_folds_counts_folds():
    """Fold 0: 8 of 8 right; fold 1: 0 of 2. Pooled accuracy is 8 / 10, the mean of folds 1 / 2."""
    big, small = fold_table(["A", "B", "C", "D"] * 2, right=True), fold_table(["A", "B"], False)
    small["key"] += "-small"
    small["patient"] += "-small"
    pooled = pool_folds([big, small])
    result = compare({"s": Arm(pooled)}, {}, PARAMS, tempered=False)
    assert result.strategies["s"].image["accuracy"].value == 0.8
    assert result.sample.patients == 10
    assert result.strategies["s"].calibration.temperature is None
    # truth A3 B3 C2 D2, the two wrong ones are answered C: chance 3*2 + 3*2 + 2*4 + 2*2 of 100
    assert result.strategies["s"].image["kappa"].value == pytest.approx((0.8 - 0.24) / (1 - 0.24))


def fold_table(labels, right):
    rows = pd.DataFrame({"label": labels, "split": "test", "laterality": "L", "view": "CC"})
    rows["key"] = rows["patient"] = [f"p{n}" for n in range(len(labels))]
    answers = labels if right else ["C"] * len(labels)
    for label in "ABCD":
        rows[f"probability_{label}"] = [float(answer == label) for answer in answers]
    validation = rows.assign(split="val")
    return pd.concat([rows, validation], ignore_index=True)


def test_an_image_tested_twice_is_refused():
    table = fold_table(["A", "B"], True)
    with pytest.raises(UserError, match="tested in one fold, got p0"):
        pool_folds([table, table])


def test_each_fold_is_tested_once_and_validated_once():
    images = pd.DataFrame({"key": [f"k{n:02}" for n in range(60)], "label": list("ABCD") * 15})
    images["patient"] = [f"p{n // 2}" for n in range(60)]
    values = {"source": "grouped", "folds": 5, "test_fold": 3, "val_fold": 1, "seed": 0}
    params = SplitParams(**values, missing_class="warn")
    cases = [fold_cases(images, params, 0, fold, list("ABCD")) for fold in range(5)]
    for split in ("test", "val"):
        keys = [set(table["key"][table["split"] == split]) for table in cases]
        assert sum(map(len, keys)) == 60 == len(set().union(*keys))
    following = [set(table["key"][table["split"] == "val"]) for table in cases]
    assert set(cases[1]["key"][cases[1]["split"] == "test"]) == following[0]


def test_the_mean_over_seeds_and_its_spread():
    tables = {
        arm: {seed: predictions(f"{arm}{seed}", skill) for seed in (0, 1, 2)}
        for arm, skill in (("good", 2.0), ("poor", 0.0))
    }
    result = compare_over_seeds(tables, PARAMS)
    alone = [
        compare({"s": Arm(table)}, {}, PARAMS).strategies["s"].image["kappa"].value
        for table in tables["good"].values()
    ]
    entry = result.strategies["good"]["kappa"]
    assert entry.value == pytest.approx(np.mean(alone))
    assert entry.standard_deviation == pytest.approx(np.std(alone, ddof=1))
    assert (entry.smallest, entry.largest) == (min(alone), max(alone))
    assert entry.low < entry.value < entry.high
    kappa = next(test for test in result.pairs[0].tests if test.metric == "kappa")
    assert kappa.p_adjusted <= 0.1 and kappa.low > 0


def test_draws_of_seeds_widen_what_draws_of_patients_leave_narrow():
    draws = np.array([[0.2, 0.2, 0.2], [0.6, 0.6, 0.6]])  # two seeds; patients change nothing
    both = mean_draws(draws, np.array([[0, 1], [1, 1]]))
    assert both.tolist() == pytest.approx([0.4, 0.4, 0.6])


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("cross_validation", {"trained": ["half"]}, "among those of params.yaml .*'half'"),
        ("cross_validation", {"folds": [0, 1]}, "folds: must be all of 0 to 4"),
        ("seeds", {"seeds": [1, 1]}, "must stand there once"),
        ("seeds", {"seeds": [1]}, "at least 2 items"),
        ("seeds", {"sneeds": 1}, "unknown key"),
        ("architectures", {"networks": {"vgg": ["backbone.arch"]}}, "key=value"),
        ("architectures", {"networks": {"vgg": ["backbone.art=vgg"]}}, "has no backbone.art"),
    ],
)
def test_a_study_that_can_not_be_carried_out_is_refused(
    tmp_path, monkeypatch, name, changes, complaint
):
    monkeypatch.chdir(tmp_path)
    pipeline = read_params(ROOT / "params.yaml")
    arms = {"arms": {"head_only": {"strategy": "head_only", "set": []}}}
    path = tmp_path / f"studies/{name}/params.yaml"
    path.parent.mkdir(parents=True)
    (tmp_path / "studies/arms.yaml").write_text(yaml.safe_dump(arms))
    values = read_params(ROOT / f"studies/{name}/params.yaml")
    values[name] |= {"strategies": ["head_only"]} if "strategies" in values[name] else {}
    path.write_text(yaml.safe_dump(values))
    check_study(name, pipeline)
    values[name].update(changes)
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=complaint):
        check_study(name, pipeline)


def test_parameters_are_set_as_on_the_command_line_and_the_original_stays():
    values = {"train": {"seed": 0, "batch_size": 16}, "strategy": "probe"}
    changed = overridden(values, ["train.seed=3", "strategy=full", "train.batch_size=null"], "here")
    assert changed == {"train": {"seed": 3, "batch_size": None}, "strategy": "full"}
    assert values["train"]["seed"] == 0
