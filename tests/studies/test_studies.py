"""The studies: what they refuse, what pooling and comparing compute, one cell from end to end."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import cohen_kappa_score

from mammo.cohort.params import SplitParams
from mammo.errors import UserError
from mammo.params import read_params
from studies.cells.arms import load_arms, overridden
from studies.cells.params import check_study
from studies.pages.cases import fold_cases
from studies.pages.pooling import mean_of, pool_folds, pool_splits
from studies.pages.repeats import compare_repeats, mean_draws
from studies.pages.results import Question
from support.made_up import compare_params, predictions
from support.pipeline_copy import DROPPED, ROOT, TINY, PipelineCopy

PARAMS = compare_params(tested_metrics=["bal_acc_adj", "kappa"])


def compared(tables, asked=(), tested=("kappa",)):
    questions = [Question(*pair) for pair in asked]
    return compare_repeats(tables, questions, tested, PARAMS)


def test_pooling_counts_every_patient_once_where_a_mean_over_folds_counts_folds():
    """Fold 0: 8 of 8 right; fold 1: 0 of 2. Pooled accuracy is 8 / 10, the mean of folds 1 / 2."""
    big, small = fold_table(["A", "B", "C", "D"] * 2, right=True), fold_table(["A", "B"], False)
    small["key"] += "-small"
    small["patient"] += "-small"
    result = compared({"s": pool_splits({"0-0": big, "0-1": small})})
    found = result.arms["s"]
    assert found["accuracy"].value == pytest.approx(0.8)
    assert (result.images, result.patients) == (10, 10)
    # truth A3 B3 C2 D2, the two wrong ones are answered C: chance 3*2 + 3*2 + 2*4 + 2*2 of 100
    assert found["kappa"].value == pytest.approx((0.8 - 0.24) / (1 - 0.24))


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
    values = {"source": "grouped", "folds": 5, "test_fold": 3, "val_fold": 1, "seed": 7}
    params = SplitParams(**values, missing_class="warn")
    cases = [fold_cases(images, params, 0, fold) for fold in range(5)]
    for split in ("test", "val"):
        keys = [set(table["key"][table["split"] == split]) for table in cases]
        assert sum(map(len, keys)) == 60 == len(set().union(*keys))
    following = [set(table["key"][table["split"] == "val"]) for table in cases]
    assert set(cases[1]["key"][cases[1]["split"] == "test"]) == following[0]


def test_the_mean_over_repeats_its_spread_and_a_difference_on_the_same_patients():
    tables = {
        arm: {str(seed): predictions(f"{arm}{seed}", skill) for seed in (0, 1, 2)}
        for arm, skill in (("good", 2.0), ("poor", 0.0))
    }
    result = compared(tables, [("good", "poor")])
    tested = [table[table["split"] == "test"] for table in tables["good"].values()]
    alone = [cohen_kappa_score(table["label"], table["prediction"]) for table in tested]
    entry = result.arms["good"]["kappa"]
    assert entry.value == pytest.approx(np.mean(alone))
    assert entry.deviation == pytest.approx(np.std(alone, ddof=1))
    assert (entry.smallest, entry.largest) == pytest.approx((min(alone), max(alone)))
    assert entry.low < entry.value < entry.high
    (found,) = result.differences
    assert found.value == pytest.approx(entry.value - result.arms["poor"]["kappa"].value)
    assert found.shown(0.1) and found.low > 0


def test_by_patient_the_mean_of_the_images_and_the_denser_breast_are_both_measured():
    table = fold_table(["B", "B"], right=True)
    table["patient"] = "one"  # both breasts of one patient, and a second patient
    table["laterality"] = ["L", "R"] * 2
    other = fold_table(["C", "D"], right=True)
    for rows in (table, other):
        rows["key"] = [f"{rows['patient'][0]}{n}" for n in range(len(rows))]
    # the right breast looks D, the left one B: their mean is a tie that the first class wins
    table.loc[1, ["probability_B", "probability_D"]] = 0.0, 1.0
    found = compared({"s": {"0": pd.concat([table, other], ignore_index=True)}}).arms["s"]
    assert found["accuracy_patient"].value == pytest.approx(1.0)
    assert found["accuracy_patient_denser"].value == pytest.approx(2 / 3)


def test_what_is_the_same_for_all_is_no_shown_difference():
    tables = {arm: {"0": predictions("same", 1.0)} for arm in ("one", "two")}
    (found,) = compared(tables, [("one", "two")]).differences
    assert (found.value, found.p, found.shown(1.0)) == (0, None, False)


def test_draws_of_repeats_widen_what_draws_of_patients_leave_narrow():
    draws = np.array([[0.2, 0.2, 0.2], [0.6, 0.6, 0.6]])  # two repeats; patients change nothing
    both = mean_draws(draws, np.array([[0, 1], [1, 1]]))
    assert both.tolist() == pytest.approx([0.4, 0.4, 0.6])


def test_an_ensemble_averages_probabilities_by_image():
    first, second = predictions("one", 1.0), predictions("two", 1.0)
    shuffled = second.sample(frac=1, random_state=0)
    mean = mean_of([{"0": first}, {"0": shuffled, "1": shuffled}])
    assert list(mean) == ["0"]
    expected = (first["probability_A"] + second["probability_A"]) / 2
    assert mean["0"]["probability_A"].to_numpy() == pytest.approx(expected.to_numpy())


def test_arms_that_judged_other_images_are_refused():
    tables = {"a": {"0": predictions("a", 1.0)}, "b": {"0": predictions("b", 1.0).iloc[:-8]}}
    with pytest.raises(UserError, match="the same images"):
        compared(tables)


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("cross_validation", {"trained": ["half"]}, "among those of params.yaml .*'half'"),
        ("cross_validation", {"folds": [0, 1]}, "folds: must be all of 0 to 4"),
        ("cross_validation", {"reference": "nobody"}, "no arm 'nobody'"),
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
    path = tmp_path / f"studies/{name}/params.yaml"
    path.parent.mkdir(parents=True)
    (tmp_path / "studies/arms.yaml").write_text((ROOT / "studies/arms.yaml").read_text())
    values = read_params(ROOT / f"studies/{name}/params.yaml")
    path.write_text(yaml.safe_dump(values))
    check_study(name, pipeline)
    values[name].update(changes)
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=complaint):
        check_study(name, pipeline)


def test_real_images_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "studies/real_mammograms"
    folder.mkdir(parents=True)
    for file in ("studies/arms.yaml", "studies/real_mammograms/params.yaml"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    with pytest.raises(UserError, match=r"images\.root: must be there, got .*README"):
        check_study("real_mammograms", read_params(ROOT / "params.yaml"))


def test_parameters_are_set_as_on_the_command_line_and_the_original_stays():
    values = {"train": {"seed": 0, "batch_size": 16}, "strategy": "probe"}
    changed = overridden(values, ["train.seed=3", "strategy=full", "train.batch_size=null"], "here")
    assert changed == {"train": {"seed": 3, "batch_size": None}, "strategy": "full"}
    assert values["train"]["seed"] == 0


def test_every_arm_sets_what_is_there():
    values = read_params(ROOT / "params.yaml")
    for name, arm in load_arms(ROOT / "studies/arms.yaml").items():
        assert arm.strategy in values["strategies"]
        changed = overridden(values, arm.set, name)
        assert (changed != values) is bool(arm.set), name


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A tiny pipeline up to its embeddings, and the cross-validation of two arms in it."""
    folder = tmp_path_factory.mktemp("study")
    copy = PipelineCopy(folder, {**TINY, "split.folds": 3}, DROPPED)
    arms = {"probe": {"strategy": "probe", "set": []}}
    arms["power_1"] = {"strategy": "probe", "set": ["balancing.power=1"]}
    copy.set_params({"arms": arms}, file="studies/arms.yaml")
    changes = {"folds": [0, 1, 2], "splits": [0], "trained": ["last_block"]}
    changes |= {"ensembles": {"both": ["probe", "power_1"]}}
    changes = {f"cross_validation.{key}": value for key, value in changes.items()}
    copy.set_params(changes, file="studies/cross_validation/params.yaml")
    copy.commit("a small study")
    copy.repro("split", "embed@probe", "embed@last_block")
    copy.ran = repro_study(copy, "cross_validation/dvc.yaml")
    return copy


def repro_study(copy, target):
    done = copy.run("sh", "-c", f"cd studies && dvc repro {target}")
    return re.findall(r"Running stage 'cross_validation/dvc.yaml:([^']+)'", done.stdout)


def read_cell(study, name):
    cell = study.folder / "studies/cross_validation/data/cells" / name
    return pd.read_csv(cell / "predictions.csv"), json.loads((cell / "facts.json").read_text())


@pytest.mark.slow
@pytest.mark.rebuild
def test_a_study_runs_a_cell_an_arm_and_fold_and_then_nothing(study):
    folds = [f"fold@last_block-{fold}" for fold in range(3)]
    assert sorted(study.ran) == ["arm@power_1", "arm@probe", "check", *folds, "pool"]
    assert repro_study(study, "cross_validation/dvc.yaml") == []
    assert "studies" not in study.run("dvc", "status", "--json").stdout


@pytest.mark.slow
@pytest.mark.rebuild
def test_a_cell_whose_blocks_train_is_the_pipelines_own_to_the_byte(study):
    table, facts = read_cell(study, "last_block-0")
    assert list(facts) == ["0-0"] and set(table["run"]) == {"0-0"}
    assert table.groupby("patient")["split"].nunique().max() == 1
    study.repro("evaluate@last_block")  # fold 0 of split 0 is the pipeline's own split
    own = pd.read_csv(study.folder / "plots/evaluation/last_block/predictions.csv")
    pd.testing.assert_frame_equal(table.drop(columns="run"), own, check_exact=True)


@pytest.mark.slow
@pytest.mark.rebuild
def test_a_solved_arm_is_judged_in_every_fold_and_answers_as_from_pixels(study):
    table, _ = read_cell(study, "probe")
    tested = table[table["split"] == "test"]
    index = pd.read_csv(study.folder / "data/tensors/index.csv")
    assert sorted(tested["key"]) == sorted(index["key"])
    study.repro("evaluate@probe")
    own = pd.read_csv(study.folder / "plots/evaluation/probe/predictions.csv")
    columns = [f"probability_{label}" for label in "ABCD"]
    cell = table[table["run"] == "0-0"].set_index("key").loc[own["key"], columns]
    assert np.abs(cell.to_numpy() - own[columns].to_numpy()).max() < 0.02


@pytest.mark.slow
@pytest.mark.rebuild
def test_the_page_has_every_arm_and_the_baselines(study):
    folder = study.folder / "studies/cross_validation"
    results = json.loads((folder / "results.json").read_text())
    page = (folder / "results.md").read_text()
    names = ["probe", "power_1", "last_block", "both", "intensity_histogram"]
    assert set(names) < set(results["arms"])
    assert all(f"`{name}`" in page for name in names)
    assert "3 folds" in page and results["images"] == 64
    table, _ = read_cell(study, "probe")
    tested = table[table["split"] == "test"]
    kappa = cohen_kappa_score(tested["label"], tested["prediction"], weights="quadratic")
    assert results["arms"]["probe"]["kappa_quadratic"]["value"] == pytest.approx(kappa, abs=1e-5)
