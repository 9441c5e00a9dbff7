"""The studies: what they refuse, what pooling computes, and that they leave the pipeline alone."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import cohen_kappa_score

from mammo.cohort.params import SplitParams
from mammo.comparison.compare import compare
from mammo.comparison.params import CompareParams
from mammo.errors import UserError
from mammo.params import read_params
from studies.cells.params import check_study, fold_cases
from studies.cells.pooling import pool_folds
from studies.cells.seed_spread import compare_over_seeds, mean_draws
from support.made_up import predictions
from support.pipeline_copy import ROOT, TINY, PipelineCopy

STUDIES = sorted(path.parent.name for path in ROOT.glob("studies/*/dvc.yaml"))
ARMS = ["head_only", "last_block"]
FOLDS = [0, 1, 2]
PARAMS = CompareParams(
    draws=200,
    seed=0,
    confidence=0.9,
    calibration_bins=10,
    tested_metrics=["bal_acc_adj", "kappa"],
    false_discovery_rate=0.1,
    histogram={"bins": 8, "inverse_penalties": [1.0]},
)
DEPENDENCIES = "^(data|models|plots|metrics|src|stages|studies)/"  # as studies/README.md has it


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A pipeline that has run, and then the cross-validation of two strategies in it."""
    folder = tmp_path_factory.mktemp("study")
    copy = PipelineCopy(folder, {**TINY, "split.folds": 3}, drop=("strategies.full",))
    changes = {"cross_validation.strategies": ARMS, "cross_validation.folds": FOLDS}
    copy.set_params(changes, file="studies/cross_validation/params.yaml")
    copy.commit("a small study")
    copy.ran = copy.repro("studies/cross_validation/dvc.yaml")  # type: ignore[attr-defined]
    copy.commit("its results")
    return copy


def read_cell(study, name, fold):
    folder = study.folder / f"studies/cross_validation/folds/{name}-{fold}"
    return pd.read_csv(folder / "predictions.csv"), json.loads(
        (folder / "metrics.json").read_text()
    )


def test_a_study_runs_the_shared_stages_once_and_a_cell_a_fold(study):
    cells = [f"studies/cross_validation/dvc.yaml:cell@{a}-{k}" for a in ARMS for k in FOLDS]
    assert sorted(s for s in study.ran if ":cell@" in s) == sorted(cells)
    assert sorted(s for s in study.ran if s.startswith("embed@")) == [f"embed@{a}" for a in ARMS]
    assert not [s for s in study.ran if s.startswith(("train", "evaluate", "split"))]
    assert study.repro("studies/cross_validation/dvc.yaml") == []


def test_every_image_is_tested_once_and_no_patient_trains_for_his_own_test(study):
    index = pd.read_csv(study.folder / "data/tensors/index.csv")
    for arm in ARMS:
        tables = [read_cell(study, arm, fold)[0] for fold in FOLDS]
        pooled = pool_folds(tables)
        assert sorted(pooled["key"]) == sorted(index["key"])
        for table in tables:
            assert table.groupby("patient")["split"].nunique().max() == 1


def test_the_first_fold_answers_as_the_pipeline_itself(study):
    """Same split, same seed: a cell must be stages train and evaluate, to the byte."""
    study.repro("evaluate@last_block")
    own = pd.read_csv(study.folder / "plots/evaluation/last_block/predictions.csv")
    pd.testing.assert_frame_equal(read_cell(study, "last_block", 0)[0], own, check_exact=True)
    metrics = json.loads((study.folder / "metrics/last_block.json").read_text())
    assert metrics.items() <= read_cell(study, "last_block", 0)[1].items()


def test_the_results_are_those_of_the_pooled_predictions(study):
    results = json.loads((study.folder / "studies/cross_validation/results.json").read_text())
    page = (study.folder / "studies/cross_validation/results.md").read_text()
    for arm in ARMS:
        pooled = pool_folds([read_cell(study, arm, fold)[0] for fold in FOLDS])
        kappa = cohen_kappa_score(pooled["label"], pooled["prediction"])
        found = results["strategies"][arm]["kappa"]
        assert found["value"] == pytest.approx(0 if np.isnan(kappa) else kappa)
        assert found["n_patients"] == pooled["patient"].nunique()
        collapsed = sum(read_cell(study, arm, fold)[1]["collapsed"] for fold in FOLDS)
        assert f"`{arm}` {collapsed}" in page
    assert set(results["baselines"]) == {"majority_class", "intensity_histogram"}
    assert "64 images (32 breasts" in page and "3 folds" in page


def test_a_study_leaves_the_pipeline_alone(study):
    """Neither its status nor a plain repro nor the metrics know of it."""
    status = study.run("dvc", "status", "--json", "dvc.yaml").stdout
    assert "studies" not in status
    ran = study.repro()
    assert ran and not [stage for stage in ran if "studies" in stage]
    assert study.repro() == []
    study.commit("the pipeline's results")
    shown = json.loads(study.run("dvc", "metrics", "show", "--json").stdout)
    assert list(next(iter(shown.values()))["data"]) == ["metrics/report.json"]
    study.run("dvc", "exp", "run", "-S", "strategy=head_only")
    table = study.run(
        "dvc", "exp", "show", "--csv", "--only-changed", "--drop", DEPENDENCIES
    ).stdout
    header = table.splitlines()[0]
    assert "accuracy" in header or "strategy" in header
    assert "studies" not in header and "cross_validation" not in header
    study.run("git", "checkout", "-q", ".")
    study.run("dvc", "checkout", "-q", "--force", "dvc.yaml")


def test_pooling_counts_every_patient_once_where_a_mean_over_folds_counts_folds():
    """Fold 0: 8 of 8 right; fold 1: 0 of 2. Pooled accuracy is 8 / 10, the mean of folds 1 / 2."""
    big, small = fold_table(["A", "B", "C", "D"] * 2, right=True), fold_table(["A", "B"], False)
    small["key"] += "-small"
    small["patient"] += "-small"
    pooled = pool_folds([big, small])
    result = compare({"s": pooled}, {}, PARAMS, tempered=False)
    assert result["strategies"]["s"]["accuracy"]["value"] == 0.8
    assert result["sample"]["patients"] == 10
    assert "temperature" not in result["calibration"]["s"]
    # truth A3 B3 C2 D2, the two wrong ones are answered C: chance 3*2 + 3*2 + 2*4 + 2*2 of 100
    assert result["strategies"]["s"]["kappa"]["value"] == pytest.approx((0.8 - 0.24) / (1 - 0.24))


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
    cases = [fold_cases(images, params, fold, list("ABCD")) for fold in range(5)]
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
        compare({"s": table}, {}, PARAMS)["strategies"]["s"]["kappa"]["value"]
        for table in tables["good"].values()
    ]
    entry = result["strategies"]["good"]["kappa"]
    assert entry["value"] == pytest.approx(np.mean(alone))
    assert entry["standard_deviation"] == pytest.approx(np.std(alone, ddof=1))
    assert (entry["smallest"], entry["largest"]) == (min(alone), max(alone))
    assert entry["low"] < entry["value"] < entry["high"]
    kappa = next(test for test in result["pairs"][0]["tests"] if test["metric"] == "kappa")
    assert kappa["p_adjusted"] <= 0.1 and kappa["low"] > 0


def test_draws_of_seeds_widen_what_draws_of_patients_leave_narrow():
    draws = np.array([[0.2, 0.2, 0.2], [0.6, 0.6, 0.6]])  # two seeds; patients change nothing
    both = mean_draws(draws, np.array([[0, 1], [1, 1]]))
    assert both.tolist() == pytest.approx([0.4, 0.4, 0.6])


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("cross_validation", {"strategies": ["half"]}, "among those of params.yaml .*'half'"),
        ("cross_validation", {"folds": [0, 1]}, "folds: must be all of 0 to 4"),
        ("seeds", {"seeds": [1, 1]}, "must stand there once"),
        ("seeds", {"seeds": [1]}, "at least 2 items"),
        ("seeds", {"sneeds": 1}, "unknown key"),
        ("architectures", {"others": ["resnet50"]}, "must not hold that of params.yaml.*resnet50"),
        ("architectures", {"others": ["vgg"]}, "others"),
    ],
)
def test_a_study_that_can_not_be_carried_out_is_refused(
    tmp_path, monkeypatch, name, changes, complaint
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"studies/{name}/params.yaml"
    path.parent.mkdir(parents=True)
    values = read_params(ROOT / f"studies/{name}/params.yaml")
    pipeline = read_params(ROOT / "params.yaml")
    path.write_text(yaml.safe_dump(values))
    check_study(name, pipeline)
    values[name].update(changes)
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=complaint):
        check_study(name, pipeline)


@pytest.mark.parametrize("name", STUDIES)
def test_a_committed_lock_belongs_to_this_code(name, tmp_path):
    """In a clone without data, outs are missing, but no code, parameter or command differs."""
    if not (ROOT / f"studies/{name}/dvc.lock").exists():
        pytest.fail(f"not there: run `dvc repro studies/{name}/dvc.yaml` and commit its dvc.lock")
    copy = PipelineCopy(tmp_path, {}, with_results=True)
    for file in ("params.yaml", f"studies/{name}/params.yaml"):
        (copy.folder / file).write_bytes((ROOT / file).read_bytes())
    assert copy.stale(f"studies/{name}/dvc.yaml") == {}
