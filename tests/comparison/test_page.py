"""The page says what the data say; the pictures are drawn; the stage writes them all."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mammo.comparison.baselines import INTENSITY_HISTOGRAM, MAJORITY_CLASS
from mammo.comparison.compare import compare, comparison_table
from mammo.comparison.inputs import (
    collapse_history,
    predict_baselines,
    read_cases,
    read_predictions,
    read_training,
)
from mammo.comparison.page import Evidence, report
from mammo.comparison.params import CompareParams, HistogramParams
from mammo.errors import UserError
from mammo.figures.evidence import forest_plot, reliability_diagram
from mammo.figures.style import write_png
from mammo.storage.files import write_json, write_table
from mammo.storage.tensors import Tensors, write_shards
from support.made_up import predictions

ROOT = Path(__file__).resolve().parents[2]
COMPARE = {
    "draws": 200,
    "seed": 0,
    "confidence": 0.9,
    "calibration_bins": 10,
    "tested_metrics": ["bal_acc_adj", "kappa"],
    "false_discovery_rate": 0.1,
    "histogram": {"bins": 8, "inverse_penalties": [1.0]},
}
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
TRAINING = {"trainable_parameters": 8196, "trainable_percent": 0.0348, "best_epoch": 4}


def evidence(
    skills=(("good", 1.5), ("poor", 0.0)), histogram_skill=0.5, synthetic=True, only_a=None
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
    result = compare(strategies, baselines, CompareParams(**COMPARE))
    cases = next(iter(strategies.values()))[["key", "patient", "label", "split"]]
    return Evidence(
        dataset="csv",
        synthetic=synthetic,
        cases=cases,
        training={name: TRAINING for name in strategies},
        collapse={name: collapse_history(HISTORY) for name in strategies},
        result=result,
    )


def with_few_a(table, patients):
    of_a = (table["split"] == "test") & (table["label"] == "A")
    kept = sorted(table.loc[of_a, "patient"].unique())[:patients]
    return table[~of_a | table["patient"].isin(kept)].reset_index(drop=True)


@pytest.fixture(scope="module")
def two_strategies():
    return evidence()


def test_collapse_history_names_the_epochs_in_order():
    assert collapse_history(HISTORY) == {
        "epochs": 6,
        "collapsed": [1, 2, 5],
        "warning": [3],
        "status": "healthy",
        "max_predicted_share": 0.45,
    }


def test_a_history_without_validation_is_refused():
    with pytest.raises(UserError, match="must hold validation epochs"):
        collapse_history(HISTORY[HISTORY["split"] == "train"])


def test_the_report_has_its_sections_in_order(two_strategies):
    assert re.findall(r"^#+ (.*)$", report(two_strategies), flags=re.M) == [
        "Strategies compared: synthetic phantoms",
        "In short",
        "Data and split",
        "Results, by image",
        "Results, by image, breast and patient",
        "What differs, and what doesn't",
        "Against baselines without a network",
        "Calibration",
        "Collapse history",
        "Limits",
    ]


def test_the_reports_numbers_are_those_of_the_data(two_strategies):
    page = report(two_strategies)
    kappa = two_strategies.result["strategies"]["good"]["kappa"]
    assert f"{kappa['value']:.2f} [{kappa['low']:.2f}, {kappa['high']:.2f}]" in page
    assert "8,196 (0.0348 %)" in page
    assert "160 test images (80 breasts, 40 patients)" in page
    assert "90 % intervals from 200 bootstrap draws" in page
    assert "is at most 0.1" in page
    assert "collapsed in epochs 1–2, 5, with warnings in epoch 3, of 6 epochs" in page
    assert "ended healthy, with 45 % of val" in page
    cases = two_strategies.cases
    of_b = cases[(cases["split"] == "val") & (cases["label"] == "B")]
    val = next(line for line in page.splitlines() if line.startswith("| val |"))
    assert val.split(" | ")[3] == f"{len(of_b)} ({of_b['patient'].nunique()})"


def test_other_data_give_another_page():
    pages = {report(evidence(skills=(("good", skill), ("poor", 0)))) for skill in (1.5, 1.0)}
    assert len(pages) == 2


def test_a_network_that_does_not_beat_a_baseline_is_said_so(two_strategies):
    page = report(two_strategies)
    lines = {
        line.split(":")[0]: line
        for line in page.splitlines()
        if line.startswith("- `") and "against" in line
    }
    assert "beats it in kappa" in lines["- `good` against the class shares of the training images"]
    assert "not" in lines["- `poor` against the intensity histogram"]
    assert "**does not beat it" in lines["- `poor` against the intensity histogram"]
    assert "above chance and kappa: `poor`." in page


def test_beating_every_baseline_is_said_too():
    page = report(evidence(skills=(("one", 2.5), ("other", 2.5)), histogram_skill=0))
    assert "Every strategy is shown to beat both baselines" in page
    assert "does not beat" not in page
    assert "no difference shown" in page
    assert "Not shown to be above another" in page


def test_a_lead_within_the_noise_is_not_called_a_win():
    close = evidence(skills=(("one", 1.0), ("other", 0.9)), histogram_skill=0.8)
    pair = next(p for p in close.result["pairs"] if p["second"] == INTENSITY_HISTOGRAM)
    kappa = next(t for t in pair["tests"] if (t["test"], t["metric"]) == ("bootstrap", "kappa"))
    assert kappa["difference"] > 0
    assert kappa["p_adjusted"] > 0.1
    page = report(close)
    assert "is **not shown to beat it** in kappa" in page
    assert "above chance and kappa: `one`, `other`." in page


def test_a_single_strategy_has_nothing_to_differ_from():
    page = report(evidence(skills=(("good", 1.5),)))
    assert "One strategy alone" in page


def test_real_images_are_not_called_synthetic():
    page = report(evidence(synthetic=False))
    assert "dataset `csv`" in page
    assert "synthetic" not in page


def test_undefined_draws_and_rare_classes_stand_among_the_limits():
    few = evidence(only_a=2)
    entries = few.result["strategies"]["good"]
    undefined = max(entry["undefined_draws"] for entry in entries.values())
    assert undefined == entries["recall_A"]["undefined_draws"] > 0
    page = report(few)
    assert f"Up to {undefined:,} of 200 draws lack a class" in page
    assert "The rarest class in test, A, comes from 2 patients" in page
    assert "leans on those" in page


def test_a_page_without_undefined_draws_does_not_speak_of_them(two_strategies):
    entries = two_strategies.result["strategies"]["good"].values()
    assert max(entry["undefined_draws"] for entry in entries) == 0
    assert "draws lack a class" not in report(two_strategies)


def test_pictures_are_written_alike_twice(two_strategies, tmp_path):
    table = comparison_table(two_strategies.result)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_png(forest_plot(table), tmp_path / name / "forest.png")
        drawn = reliability_diagram(two_strategies.result["calibration"])
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
    drawn = np.array([s[:, 0] for s in bars.get_segments()])
    np.testing.assert_allclose(drawn, by_image[["low", "high"]].to_numpy(float))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(
        by_image["strategy"]
    )


def test_a_folder_of_a_removed_strategy_is_named_and_ignored(tmp_path, caplog):
    for name in ("kept", "removed"):
        write_table(predictions(name, 1), tmp_path / name / "predictions.csv")
    with caplog.at_level(logging.WARNING):
        tables = read_predictions(["kept"], tmp_path)
    assert list(tables) == ["kept"]
    assert tables["kept"]["probability_A"].dtype == float
    assert "removed: not among the strategies" in caplog.text


def test_predictions_without_a_column_are_refused(tmp_path):
    write_table(predictions("s", 1).drop(columns="laterality"), tmp_path / "s" / "predictions.csv")
    with pytest.raises(UserError, match="got no laterality"):
        read_predictions(["s"], tmp_path)


def test_training_metrics_without_parameter_counts_are_refused(tmp_path):
    write_json({"best_epoch": 1}, tmp_path / "s.json")
    with pytest.raises(UserError, match="got no trainable_parameters"):
        read_training(["s"], tmp_path)


def test_a_label_that_was_never_predicted_is_refused(tmp_path):
    world(tmp_path, ["s"])
    cases = read_cases(*(tmp_path / f"data/{n}.csv" for n in ("images", "labels", "splits")))
    cases.loc[0, "label"] = "E"
    tensors = Tensors(tmp_path / "data/tensors")
    params = HistogramParams(**COMPARE["histogram"])
    with pytest.raises(UserError, match="labels must be among A, B, C, D, got 'E'"):
        predict_baselines(predictions("s", 1), cases, tensors, params)


def test_baselines_learn_from_train_and_judge_what_the_strategies_judged(tmp_path):
    world(tmp_path, ["s"])
    cases = read_cases(*(tmp_path / f"data/{n}.csv" for n in ("images", "labels", "splits")))
    judged = predictions("s", 1)
    tensors = Tensors(tmp_path / "data/tensors")
    tables = predict_baselines(judged, cases, tensors, HistogramParams(**COMPARE["histogram"]))
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
        np.clip(rng.normal(60 + 30 * "ABCD".index(label), 20, (8, 8)), 0, 255).astype(np.uint8)
        for label in cases["label"]
    ]
    (root / "data/tensors").mkdir()
    write_shards(tensors, list(cases["key"]), root / "data/tensors", shard_bytes=1 << 12)
    for number, name in enumerate(strategies):
        table = predictions(name, 0.5 + number)
        write_table(table, root / "plots/evaluation" / name / "predictions.csv")
        history = HISTORY.assign(strategy=name)
        write_table(history, root / "plots/training" / name / "history.csv")
        write_json(TRAINING, root / "metrics/train" / f"{name}.json")
    settings = {
        "dataset": {"name": "csv", "root": "data/phantom"},
        "strategies": {name: {} for name in strategies},
        "compare": COMPARE,
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
    assert list(result["baselines"]) == [MAJORITY_CLASS, INTENSITY_HISTOGRAM]
    assert result["baselines"][MAJORITY_CLASS]["kappa"]["value"] == 0
    assert result["baselines"][INTENSITY_HISTOGRAM]["kappa"]["value"] > 0.5
    assert result["collapse"]["head_only"]["collapsed"] == [1, 2, 5]


def test_the_stage_ends_on_a_missing_strategy_with_one_line(tmp_path):
    world(tmp_path, ["head_only", "last_block"])
    (tmp_path / "plots/evaluation/last_block/predictions.csv").unlink()
    done = run_stage(tmp_path)
    assert done.returncode == 1
    assert "plots/evaluation/last_block/predictions.csv: not found" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "report.md").exists()
