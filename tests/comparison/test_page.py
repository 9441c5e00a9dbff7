"""The page says what the data say; the pictures are drawn; the stage writes them all."""

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mammo.cohort.cases import read_cases
from mammo.comparison.arms import Arm
from mammo.comparison.baselines import GREY_FEATURES, INTENSITY_HISTOGRAM, MAJORITY_CLASS
from mammo.comparison.compare import compare
from mammo.comparison.inputs import (
    Training,
    predict_baselines,
    read_arms,
    read_predictions,
    read_trainings,
    summarise_history,
)
from mammo.comparison.measuring import thin_by_patient
from mammo.comparison.page import Evidence, report
from mammo.comparison.tables import calibration_table, comparison_table
from mammo.comparison.wording import patients
from mammo.errors import UserError
from mammo.figures.evidence import forest_plot, reliability_diagram
from mammo.figures.style import write_png
from mammo.heads.params import HeadParams
from mammo.storage.files import write_json, write_table
from mammo.storage.tensors import OUTLINES, packed, write_shards
from mammo.training.problem import Solving
from support.made_up import compare_params, predictions
from support.trainings import BALANCING, LOSS

ROOT = Path(__file__).resolve().parents[2]
HISTORY = pd.DataFrame(
    [
        ("train", 1, "", 0.5),
        ("val", 2, "collapsed", 1.0),
        ("val", 1, "collapsed", 1.0),
        ("val", 3, "warning", 0.8),
        ("val", 5, "collapsed", 0.995),
        ("val", 6, "healthy", 0.45),
        ("val", 4, "healthy", 0.5),
    ],
    columns=["split", "epoch", "status", "max_predicted_share"],
)
TRAINING = {
    "trainable_parameters": 8196,
    "trainable_percent": 0.0348,
    "trainable_by_block": {"layer4": 8000, "head": 196},
    "best_epoch": 4,
    "alerts": ["collapsed at epoch 2"],
    "cpu": "AVX2, float32",
}
HEAD = HeadParams.model_validate({
    "model": "multinomial", "kernel": "none", "rbf": {"features": 8, "scale": 1.0}, "seed": 0,
    "select": "cross_fit", "criterion": "log_loss", "thresholds": "joint", "folds": 3,
    "refit": False, "width_power": 0.5,
    "penalties": {"strongest": 1.0, "weakest": 1e-2, "steps": 3},
})  # fmt: skip
FACTS = {"decision": "argmax", "status": "healthy", "parameters": "0123abcd"}
SOLVER = Solving(["A", "B", "C", "D"], HEAD, BALANCING, LOSS).plain().path


def training(alerts=(), history=HISTORY):
    return Training(
        parameters=8196,
        percent=0.0348,
        by_block=TRAINING["trainable_by_block"],
        best_epoch=4,
        alerts=tuple(alerts),
        cpu="AVX2, float32",
        history=summarise_history(history, 4),
    )


def evidence(
    skills=(("good", 1.5), ("poor", 0.0)),
    histogram_skill=0.5,
    synthetic=True,
    only_a=None,
    ceiling=False,
):
    strategies = {name: predictions(name, skill) for name, skill in skills}
    baselines = {
        MAJORITY_CLASS: predictions("constant", 0).assign(
            probability_A=0.1, probability_B=0.2, probability_C=0.6, probability_D=0.1
        ),
        INTENSITY_HISTOGRAM: predictions("histogram", histogram_skill),
    }
    if only_a:  # patients of class A that stay in test
        strategies, baselines = (
            {name: with_few_a(table, only_a) for name, table in arms.items()}
            for arms in (strategies, baselines)
        )
    cases = next(iter(strategies.values()))[["key", "patient", "label", "split"]]
    slips = cases["label"].map(dict(zip("ABCD", "BBCC", strict=True)))
    result = compare(
        {name: Arm(table, "argmax", "0123abcd", "healthy") for name, table in strategies.items()},
        {name: Arm(table) for name, table in baselines.items()},
        compare_params(),
        truth=cases[["key"]].assign(true_class=slips) if ceiling else None,
        groups=cases[["key"]].assign(maker="Phantom Alpha"),
    )
    return Evidence(
        dataset="csv",
        synthetic=synthetic,
        arch="resnet50",
        cases=cases,
        training={name: training() for name in strategies},
        result=result,
    )


def with_few_a(table, patients):
    of_a = (table["split"] == "test") & (table["label"] == "A")
    kept = sorted(table.loc[of_a, "patient"].unique())[:patients]
    return table[~of_a | table["patient"].isin(kept)].reset_index(drop=True)


@pytest.fixture(scope="module")
def two_strategies():
    return evidence()


def test_a_history_names_its_epochs_in_order():
    found = summarise_history(HISTORY, 4)
    assert (found.path_steps, found.epochs) == (0, 6)
    assert (found.collapsed, found.warning) == ((1, 2, 5), (3,))
    assert (found.kept_status, found.kept_share) == ("healthy", 0.5)


def test_steps_of_a_path_are_no_epochs_and_no_collapse():
    path = HISTORY.assign(penalty=["", "1", "10", "0.1", "0.01", "0.001", "0.01"])
    found = summarise_history(path, 4)
    assert (found.path_steps, found.epochs, found.collapsed) == (6, 0, ())
    page = report(replace(evidence(skills=(("good", 1),)), training={"good": training((), path)}))
    assert "`good`: head solved along 6 steps; kept step 4, which is healthy" in page
    assert "no alarm" in page


def test_a_history_without_validation_is_refused():
    with pytest.raises(UserError, match="must hold validation epochs"):
        summarise_history(HISTORY[HISTORY["split"] == "train"], 4)


def test_the_report_has_its_sections_in_order(two_strategies):
    assert re.findall(r"^#+ (.*)$", report(two_strategies), flags=re.M) == [
        "Strategies compared: synthetic phantoms",
        "In short",
        "Data and split",
        "Experiments",
        "Results, by image",
        "Results, by image, breast and patient",
        "Dense (C or D) or not, read off these answers",
        "By group",
        "What differs, and what doesn't",
        "Against baselines without a network",
        "Trainable parameters by component (resnet50)",
        "Calibration",
        "Collapse history",
        "Limits",
    ]


def test_the_reports_numbers_are_those_of_the_data(two_strategies):
    page = report(two_strategies)
    kappa = two_strategies.result.strategies["good"].image["kappa"]
    assert f"{kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]" in page
    assert "8,196 (0.0348 %)" in page
    assert "160 test images (80 breasts, 40 patients)" in page
    assert "90 % intervals from 200 bootstrap draws" in page
    assert "is at most 0.1" in page
    assert "collapsed in epochs 1–2, 5, with warnings in epoch 3, of 6 epochs" in page
    assert "kept epoch 4, which is healthy, with 50 % of val" in page
    assert "`good` `0123abcd`" in page
    assert "CPU path AVX2, float32" in page
    cases = two_strategies.cases
    of_b = cases[(cases["split"] == "val") & (cases["label"] == "B")]
    val = next(line for line in page.splitlines() if line.startswith("| val |"))
    assert val.split(" | ")[3] == f"{len(of_b)} ({of_b['patient'].nunique()})"


def test_other_data_give_another_page():
    pages = {report(evidence(skills=(("good", skill), ("poor", 0)))) for skill in (1.5, 1.0)}
    assert len(pages) == 2


def rows_of(page, title):
    """The cells of the first table below a heading, by row name."""
    section = page.split(f"## {title}")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in lines[2:]} | {"": lines[0]}


def test_the_first_table_of_results_has_every_level_and_the_status(two_strategies):
    rows = rows_of(report(two_strategies), "Experiments")
    assert rows[""] == [
        "status", "trained parameters", "quadratic kappa, image", "quadratic kappa, breast",
        "quadratic kappa, patient", "kappa, image", "kappa, patient", "accuracy", "AUC", "macro F1",
    ]  # fmt: skip
    good = two_strategies.result.strategies["good"]
    assert rows["`good`"][0] == "healthy"
    for column, level in ((2, "image"), (3, "breast"), (4, "patient")):
        found = good.levels[level]["kappa_quadratic"]
        assert rows["`good`"][column] == f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
    assert rows["`good`"][6] == f"{good.patient['kappa'].value:.2f}"
    assert rows["`majority_class`"][0] == "–"


def test_every_strategy_is_read_against_the_ceiling():
    found = evidence(ceiling=True)
    page = report(found)
    rows = rows_of(page, "Experiments")
    highest = found.result.ceiling.image["kappa_quadratic"].value
    share = found.result.strategies["good"].image["kappa_quadratic"].value / highest
    assert rows[""][5] == "of the ceiling"
    assert rows["`good`"][5] == f"{100 * share:.3g} %"
    assert rows["ceiling"][5] == "100 %"
    assert f"`good` has {100 * share:.3g} % of that" in page
    assert "ceiling" not in report(evidence()).lower()


def test_trainable_parameters_stand_by_component(two_strategies):
    rows = rows_of(report(two_strategies), "Trainable parameters by component")
    assert rows["layer4"] == ["8,000", "8,000"]
    assert rows["fc"] == ["196", "196"]
    assert rows["all"] == ["8,196", "8,196"]


def test_heads_that_were_solved_again_on_train_and_val_are_named():
    plain = evidence()
    assert "once more on train and val" not in report(plain)
    again = {**plain.training, "good": replace(plain.training["good"], refitted=True)}
    page = report(replace(plain, training=again))
    assert "a head that was solved alone (`good`; the baselines' too) is solved once more" in page


def test_a_thin_class_is_named_and_leaves_no_interval(two_strategies):
    few = evidence(only_a=2)
    page = report(few)
    assert "Too few patients are of class A (2 patients)" in page
    cell = rows_of(page, "Results, by image")["`good`"][2]
    assert cell.endswith("(no interval)")
    assert "Too few patients" not in report(two_strategies)  # 6 patients of A are in test


def test_a_handful_of_patients_is_said_to_show_nothing(two_strategies):
    said = "3 patients are too few for either: nothing has an interval or a p value"
    few = replace(two_strategies.result, sample=replace(two_strategies.result.sample, patients=3))
    assert said in report(replace(two_strategies, result=few))
    assert "too few for either" not in report(two_strategies)


def test_a_class_that_is_thin_by_patient_alone_is_named_too(two_strategies):
    cases, classes = two_strategies.cases, ("A", "B", "C", "D")
    assert "By patient" not in report(two_strategies)
    test_a = cases[(cases["split"] == "test") & (cases["label"] == "A")]
    first_images = test_a[test_a.duplicated("patient")].drop_duplicates("patient")["key"][:4]
    mixed = cases.assign(label=cases["label"].mask(cases["key"].isin(first_images), "B"))
    assert thin_by_patient(mixed[mixed["split"] == "test"], classes) == {"A": 2}
    page = report(replace(two_strategies, cases=mixed))
    assert "By patient, who counts as the denser breast does, of class A (2 patients) too:" in page


def test_what_cannot_be_tested_for_want_of_variance_is_no_thin_class(two_strategies):
    """DeLong's test of a faultless ranking against none at all has no variance to go by."""
    result = two_strategies.result
    pairs = tuple(
        replace(pair, tests=tuple(map(without_p, pair.tests)))
        if (pair.first, pair.family) == ("good", "majority")
        else pair
        for pair in result.pairs
    )
    page = report(replace(two_strategies, result=replace(result, pairs=pairs)))
    assert "Too few patients of a class" not in page
    assert (
        "Without a p value, since the scores leave no variance to test by: `good` less the class "
        "shares of the training images, +0.50 in dense-versus-not AUC." in page
    )


def without_p(test):
    if test.test != "delong":
        return test
    return replace(test, difference=0.5, p=None, p_adjusted=None, standard_error=0.0, z=None)


def test_groups_stand_with_their_patients(two_strategies):
    rows = rows_of(report(two_strategies), "By group")
    assert rows["maker Phantom Alpha"][0] == "160 (40)"
    assert rows["side L"][0] == "80 (40)"


def test_alarms_are_listed_and_a_warm_up_is_none(two_strategies):
    assert "- Collapse alarm while training (after the warm-up): none." in report(two_strategies)
    alarmed = {"good": training(["collapsed at epoch 5"]), "poor": training()}
    page = report(replace(two_strategies, training=alarmed))
    assert "(after the warm-up): `good`." in page


def test_a_network_that_does_not_beat_the_better_baseline_is_said_so(two_strategies):
    page = report(two_strategies)
    lines = {
        line.split(":")[0]: line
        for line in page.splitlines()
        if line.startswith("- `") and " less " in line
    }
    majority = lines["- `good` less the class shares of the training images"]
    assert re.search(r"\+\d\.\d\d \[\S+, \S+\] in kappa, shown \(adjusted p ", majority)
    assert re.search(r" in accuracy by patient \(McNemar\), ", majority)
    assert " in kappa, **worse** (" in lines["- `poor` less the intensity histogram"]
    assert "beyond grey values" in page
    assert "better baseline, in quadratic kappa: none; not shown to: `good`, `poor`." in page


def test_beating_the_better_baseline_is_said_too():
    page = report(evidence(skills=(("one", 2.5), ("other", 2.5)), histogram_skill=0))
    assert "Every strategy is shown to beat the intensity histogram, the better baseline" in page
    assert "no difference shown" in page
    assert "Not shown to be above another" in page


def test_what_is_not_shown_has_one_wording_whatever_the_sign():
    close = evidence(skills=(("one", 1.0), ("other", 0.7)), histogram_skill=0.8)
    pairs = [p for p in close.result.pairs if p.family == "baseline"]
    tests = [next(t for t in p.tests if t.metric == "kappa") for p in pairs]
    assert tests[0].difference > 0 > tests[1].difference
    assert all(test.p_adjusted > 0.1 for test in tests)
    page = report(close)
    assert page.count(" in kappa, **not shown** (adjusted p ") == 2
    for test in tests:
        assert f"{patients(test.patients_needed)} patients would show it" in page
    assert "does not beat" not in page


def test_a_single_strategy_has_nothing_to_differ_from():
    page = report(evidence(skills=(("good", 1.5),)))
    assert "One strategy alone" in page


def test_real_images_are_not_called_synthetic():
    page = report(evidence(synthetic=False))
    assert "dataset `csv`" in page
    assert "synthetic" not in page


def test_rare_classes_stand_among_the_limits():
    page = report(evidence(only_a=2))
    assert "The rarest class in test, A, comes from 2 patients" in page
    assert "leans on those" in page


def test_a_page_without_undefined_draws_does_not_speak_of_them(two_strategies):
    assert "draws lack a class" not in report(two_strategies)


def test_two_classes_have_no_column_twice():
    two = {"A": "AB", "B": "AB", "C": "CD", "D": "CD"}
    tables = {}
    for name, skill in (("good", 1.5), (INTENSITY_HISTOGRAM, 0.5)):
        table = predictions(name, skill)
        folded = table.drop(columns=[c for c in map(str, table) if c.startswith("probability")])
        folded["label"] = folded["label"].map(two)
        folded["probability_AB"] = table["probability_A"] + table["probability_B"]
        tables[name] = folded.assign(probability_CD=1 - folded["probability_AB"])
    result = compare(
        {"good": Arm(tables["good"])},
        {INTENSITY_HISTOGRAM: Arm(tables[INTENSITY_HISTOGRAM])},
        compare_params(),
    )
    cases = tables["good"][["key", "patient", "label", "split"]]
    page = report(Evidence("csv", False, "resnet50", cases, {"good": training()}, result))
    header = rows_of(page, "Experiments")[""]
    assert [h for h in header if "kappa" in h] == [
        "kappa, image",
        "kappa, breast",
        "kappa, patient",
    ]
    assert "off by more than one class" not in page
    assert "read off these answers" not in page
    titles = [axes.get_title() for axes in forest_plot(comparison_table(result)).axes]
    assert "quadratic kappa" not in titles and "kappa" in titles


def test_pictures_are_written_alike_twice(two_strategies, tmp_path):
    table = comparison_table(two_strategies.result)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_png(forest_plot(table), tmp_path / name / "forest.png")
        drawn = reliability_diagram(calibration_table(two_strategies.result))
        write_png(drawn, tmp_path / name / "reliability.png")
    for picture in ("forest.png", "reliability.png"):
        content = (tmp_path / "one" / picture).read_bytes()
        assert content == (tmp_path / "two" / picture).read_bytes()
        assert content.startswith(b"\x89PNG")


def test_the_forest_plot_draws_each_interval_where_the_table_says(two_strategies):
    table = comparison_table(two_strategies.result)
    figure = forest_plot(table)
    kappa = next(axes for axes in figure.axes if axes.get_title() == "kappa")
    by_image = table[(table["metric"] == "kappa") & (table["level"] == "image")]
    bars: Any = kappa.collections[0]
    drawn = np.array([s[:, 0] for s in bars.get_segments() if len(s)])
    given = by_image.dropna(subset="low")  # the majority's kappa is 0 in every draw: no interval
    np.testing.assert_allclose(drawn, given[["low", "high"]].to_numpy(float))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(
        by_image["strategy"]
    )


def test_the_ceiling_is_a_line_and_no_arm():
    table = comparison_table(evidence(ceiling=True).result)
    at = table[(table["strategy"] == "ceiling") & (table["level"] == "image")]
    figure = forest_plot(table)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["good", "poor", MAJORITY_CLASS, INTENSITY_HISTOGRAM]
    for axes in figure.axes[:2]:
        metric = {"kappa": "kappa", "quadratic kappa": "kappa_quadratic"}[axes.get_title()]
        lines = [line for line in axes.lines if str(line.get_label()).startswith("ceiling")]
        assert lines[0].get_xdata()[0] == at.set_index("metric").loc[metric, "value"]


def test_a_folder_of_a_removed_strategy_is_named_and_ignored(tmp_path, caplog):
    for name in ("kept", "removed"):
        write_table(predictions(name, 1), tmp_path / name / "predictions.csv")
        write_json(FACTS, tmp_path / name / "metrics.json")
    with caplog.at_level(logging.WARNING):
        arms = read_arms(["kept"], tmp_path)
    assert list(arms) == ["kept"]
    assert arms["kept"].predictions["probability_A"].dtype == float
    assert (arms["kept"].rule, arms["kept"].parameters) == ("argmax", "0123abcd")
    assert "removed: not among the strategies" in caplog.text


def test_predictions_without_a_column_are_refused(tmp_path):
    write_table(predictions("s", 1).drop(columns="laterality"), tmp_path / "s" / "predictions.csv")
    with pytest.raises(UserError, match="got no laterality"):
        read_predictions(tmp_path / "s" / "predictions.csv")


def test_training_metrics_without_parameter_counts_are_refused(tmp_path):
    write_json({"best_epoch": 1}, tmp_path / "s.json")
    with pytest.raises(UserError, match="got no trainable_parameters"):
        read_trainings(["s"], tmp_path, tmp_path)


def test_a_label_that_was_never_predicted_is_refused(tmp_path):
    world(tmp_path, ["s"])
    cases = read_cases(*(tmp_path / f"data/{n}.csv" for n in ("images", "labels", "splits")))
    cases.loc[0, "label"] = "E"
    with pytest.raises(UserError, match="labels must be among A, B, C, D, got 'E'"):
        predict_baselines(predictions("s", 1), cases, tmp_path / "data/tensors", 8, SOLVER, False)


@pytest.mark.slow
def test_baselines_learn_from_train_and_judge_what_the_strategies_judged(tmp_path):
    world(tmp_path, ["s"])
    cases = read_cases(*(tmp_path / f"data/{n}.csv" for n in ("images", "labels", "splits")))
    judged = predictions("s", 1)
    found = predict_baselines(judged, cases, tmp_path / "data/tensors", 8, SOLVER, False)
    assert set(found.cross_fitted) == {INTENSITY_HISTOGRAM, GREY_FEATURES}
    tables = {name: arm.predictions for name, arm in found.arms.items()}
    train = cases[cases["split"] == "train"]
    for table in tables.values():
        assert sorted(table["key"]) == sorted(judged["key"])
        assert set(table["split"]) == {"val", "test"}
    stated = tables[MAJORITY_CLASS][[f"probability_{label}" for label in "ABCD"]]
    shares = [(train["label"] == label).mean() for label in "ABCD"]
    np.testing.assert_allclose(stated, [shares] * len(stated))
    test = cases[cases["split"] == "test"]
    assert shares != [(test["label"] == label).mean() for label in "ABCD"]


def world(root, strategies):
    """What the stage reads, for made-up predictions; brightness tells the class."""
    judged = predictions("any", 1)
    train = predictions("any", 1, seed=1).assign(split="train")
    train[["key", "patient"]] = "t" + train[["key", "patient"]]
    cases = pd.concat([judged, train]).sort_values("key", ignore_index=True)
    images = cases[["key", "patient", "laterality", "view"]].assign(published_split="")
    write_table(images, root / "data/images.csv")
    write_table(cases[["key", "label"]], root / "data/labels.csv")
    write_table(cases[["key", "split"]], root / "data/splits.csv")
    rng = np.random.default_rng(0)
    tensors = [
        np.clip(rng.normal(60 + 30 * "ABCD".index(label), 20, (16, 16)), 1, 255).astype(np.uint8)
        for label in cases["label"]
    ]
    (root / "data/tensors" / OUTLINES).mkdir(parents=True)
    write_shards(tensors, list(cases["key"]), root / "data/tensors", shard_bytes=1 << 12)
    outlines = [packed(np.ones((16, 16), bool))] * len(cases)
    write_shards(outlines, list(cases["key"]), root / "data/tensors" / OUTLINES, 1 << 12)
    for number, name in enumerate(strategies):
        table = predictions(name, 0.5 + number)
        write_table(table, root / "plots/evaluation" / name / "predictions.csv")
        write_json(FACTS, root / "plots/evaluation" / name / "metrics.json")
        history = HISTORY.assign(strategy=name)
        write_table(history, root / "plots/training" / name / "history.csv")
        write_json(TRAINING, root / "metrics/train" / f"{name}.json")
    write_table(cases[["key"]].assign(maker="M", age_band="50-59"), root / "data/groups.csv")
    write_table(cases[["key"]].assign(path="at/" + cases["key"]), root / "data/files.csv")
    truth = pd.DataFrame({"image_path": "at/" + cases["key"], "true_class": cases["label"]})
    write_table(truth, root / "data/phantom_truth.csv")
    settings = {
        "dataset": {"name": "csv", "root": "./data/phantom/", "classes": "a_b_c_d"},
        "backbone": {"arch": "resnet50"},
        "evaluate": {"patient": "denser"},
        "ensemble": {"strategies": []},
        "head": HEAD.model_dump(),
        "balancing": BALANCING.model_dump(),
        "loss": LOSS.model_dump(),
        "strategies": {name: {} for name in strategies},
        "compare": compare_params().model_dump(mode="json"),
    }
    (root / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))


def run_stage(root):
    return subprocess.run(
        [sys.executable, ROOT / "stages/compare.py"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_stage_writes_everything_and_the_same_bytes_twice(tmp_path):
    outputs = ["metrics/compare.json", "plots/compare/intervals.csv", "report.md"]
    outputs += ["plots/compare/forest.png", "plots/compare/reliability.png"]
    world(tmp_path, ["head_only", "last_block"])
    contents = []
    for _ in range(2):
        done = run_stage(tmp_path)
        assert done.returncode == 0, done.stderr
        contents.append([(tmp_path / name).read_bytes() for name in outputs])
    assert contents[0] == contents[1]
    result = json.loads(contents[0][0])
    assert list(result["strategies"]) == ["head_only", "last_block"]
    assert list(result["baselines"]) == [MAJORITY_CLASS, INTENSITY_HISTOGRAM, GREY_FEATURES]
    assert result["baselines"][MAJORITY_CLASS]["image"]["kappa"]["value"] == 0
    assert result["baselines"][INTENSITY_HISTOGRAM]["image"]["kappa"]["value"] > 0.5
    assert result["ceiling"]["image"]["kappa_quadratic"]["value"] == 1
    assert result["strategies"]["head_only"]["parameters"] == "0123abcd"
    assert {group["dimension"] for group in result["groups"]} == {
        "maker", "age_band", "view", "laterality"
    }  # fmt: skip


@pytest.mark.slow
def test_the_stage_ends_on_a_missing_strategy_with_one_line(tmp_path):
    world(tmp_path, ["head_only", "last_block"])
    (tmp_path / "plots/evaluation/last_block/predictions.csv").unlink()
    done = run_stage(tmp_path)
    assert done.returncode == 1
    assert "plots/evaluation/last_block/predictions.csv: not found" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "report.md").exists()
