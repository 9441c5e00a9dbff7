"""The tables behind the charts."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo import paths
from mammo.errors import UserError
from mammo.figures import tables as curves
from mammo.storage.files import read_json, read_table, write_table
from support.made_up_results import made_up_results, write_results

ABCD = ["A", "B", "C", "D"]
# The published matrix of the design: rows true, n = 318.
PUBLISHED = np.array([[2, 6, 0, 0], [4, 58, 11, 0], [0, 42, 98, 30], [0, 1, 9, 57]])


def as_labels(confusion):
    rows, columns = np.indices(confusion.shape)
    names = np.array(ABCD)
    n = confusion.ravel()
    return pd.Series(names[rows.ravel().repeat(n)]), pd.Series(names[columns.ravel().repeat(n)])


def test_confusion_holds_every_cell_zeros_too_and_the_published_recalls():
    cells = curves.confusion_cells(*as_labels(PUBLISHED), classes=ABCD)
    assert cells["n"].tolist() == PUBLISHED.ravel().tolist()
    assert cells["actual"].tolist() == list("AAAABBBBCCCCDDDD")
    assert cells["predicted"].tolist() == list("ABCD" * 4)
    diagonal = cells[cells["actual"] == cells["predicted"]]["recall"]
    # 2/8, 58/73, 98/170, 57/67
    assert diagonal.tolist() == pytest.approx([0.25, 0.794521, 0.576471, 0.850746], abs=1e-6)
    assert cells.groupby("actual")["recall"].sum().tolist() == pytest.approx([1, 1, 1, 1])


def test_confusion_of_an_absent_class_is_a_row_of_zeros_without_recall():
    labels, predictions = pd.Series(["B", "B"]), pd.Series(["B", "A"])
    cells = curves.confusion_cells(labels, predictions, ABCD).set_index(["actual", "predicted"])
    assert cells.loc["A", "n"].tolist() == [0, 0, 0, 0]
    assert cells.loc["A", "recall"].isna().all()
    assert cells.loc[("B", "A"), "recall"] == 0.5


def test_roc_is_that_of_a_case_small_enough_to_do_by_hand():
    # By falling score: .8 yes, .4 no, .35 yes, .1 no; of 2 x 2 pairs 3 are ordered: AUC 3/4.
    points = curves.roc_points(np.array([0, 0, 1, 1], bool), np.array([0.1, 0.4, 0.35, 0.8]))
    assert points["fpr"].tolist() == [0, 0, 0.5, 0.5, 1]
    assert points["tpr"].tolist() == [0, 0.5, 0.5, 1, 1]
    assert set(points["auc"]) == {0.75}


def test_precision_at_recall_zero_is_that_of_the_highest_score_not_one():
    points = curves.pr_points(np.array([0, 1, 0], bool), np.array([0.9, 0.5, 0.1]))
    assert points[["recall", "precision"]].iloc[0].tolist() == [0, 0]
    assert points["prevalence"].iloc[0] == pytest.approx(1 / 3)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60))
def test_areas_under_the_points_are_the_areas_said(cases):
    positive = np.array([case[0] for case in cases])
    scores = np.array([case[1] for case in cases]) / 20
    roc, pr = curves.roc_points(positive, scores), curves.pr_points(positive, scores)
    if positive.all() or not positive.any():
        assert roc.empty and pr.empty
        return
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(roc["auc"].iloc[0])
    steps = np.diff(pr["recall"]) * pr["precision"].iloc[1:]
    assert steps.sum() == pytest.approx(pr["average_precision"].iloc[0])


def test_long_curves_are_thinned_and_keep_ends_area_and_the_steep_start_of_a_rare_class():
    generator = np.random.default_rng(0)
    positive = generator.random(20_000) < 0.02
    scores = generator.normal(0, 1, 20_000) + 2.5 * positive
    roc, pr = curves.roc_points(positive, scores), curves.pr_points(positive, scores)
    assert max(len(roc), len(pr)) <= curves.CURVE_POINTS
    assert roc[["fpr", "tpr"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(roc["auc"][0], abs=2e-3)
    assert pr["recall"].iloc[[0, -1]].tolist() == [0, 1]
    # Half of the 2 % that are positive score among the highest 1 or 2 %: evenly by position,
    # that would be 4 of 200 points.
    assert (pr["recall"] < 0.5).sum() > 40


def test_a_class_that_the_test_split_lacks_has_no_curve_and_is_named(caplog):
    result = made_up_results(["last_block"], ABCD)["last_block"]
    lacking = (result.predictions["split"] == "test") & (result.predictions["label"] == "A")
    predictions = result.predictions[~lacking]
    with caplog.at_level(logging.WARNING):
        tables = curves.strategy_tables(result.history, predictions)
    assert set(tables["roc.csv"]["class"]) == set(tables["pr.csv"]["class"]) == {"B", "C", "D"}
    assert "no images of class A" in caplog.text


def test_shares_of_every_epoch_sum_to_one_beside_the_true_shares():
    result = made_up_results(["full"], ABCD, epochs=6)["full"]
    shares = curves.share_history(result.history, result.predictions)
    assert len(shares) == 6 * 4
    epochs = shares.groupby("epoch")
    assert epochs["share"].sum().tolist() == pytest.approx([1] * 6)
    assert epochs["true_share"].sum().tolist() == pytest.approx([1] * 6)
    val = result.predictions[result.predictions["split"] == "val"]
    true_share = shares.loc[shares["class"] == "D", "true_share"]
    assert set(true_share) == {(val["label"] == "D").mean()}
    assert set(shares.loc[shares["epoch"] == "1", "status"]) == {"collapsed"}
    assert shares.loc[shares["epoch"] == "1", "share"].max() == 1


def test_comparison_joins_the_strategies_in_the_order_given():
    results = made_up_results(["full", "head_only"], ABCD)
    tables = curves.comparison_tables(results)
    for table in tables.values():
        assert list(dict.fromkeys(table["strategy"])) == ["full", "head_only"]
    assert tables["strategies.csv"]["trainable_parameters"].tolist() == [23_516_228, 8_196]
    assert tables["strategies.csv"]["collapsed"].tolist() == ["false", "false"]


def test_report_tables_are_the_rows_of_the_comparison():
    results = made_up_results(["head_only", "last_block"], ABCD)
    comparison = curves.comparison_tables(results)
    chosen = results["last_block"]
    report = curves.strategy_tables(chosen.history, chosen.predictions)
    assert list(report) == ["history.csv", "shares.csv", "confusion.csv", "roc.csv", "pr.csv"]
    for name, table in report.items():
        joined = comparison[name.replace("history", "curves")]
        rows = joined[joined["strategy"] == "last_block"].reset_index(drop=True)
        made_with = chosen.metrics["parameters"]
        pd.testing.assert_frame_equal(rows, curves.marked(table, made_with).reset_index(drop=True))


def test_tables_are_the_same_after_a_trip_through_files(tmp_path):
    results = made_up_results(["last_block"], ["AB", "CD"])
    write_results(results, tmp_path)
    read = curves.Result(
        read_table(tmp_path / paths.TRAINING_PLOTS / "last_block" / "history.csv"),
        read_table(tmp_path / paths.EVALUATION_PLOTS / "last_block" / "predictions.csv"),
        read_json(tmp_path / paths.EVALUATION_PLOTS / "last_block" / "metrics.json"),
    )
    for name, table in curves.comparison_tables({"last_block": read}).items():
        expected = curves.comparison_tables(results)[name]
        write_table(table, tmp_path / "read.csv")
        write_table(expected, tmp_path / "made.csv")
        assert (tmp_path / "read.csv").read_bytes() == (tmp_path / "made.csv").read_bytes(), name


def test_different_class_sets_are_refused():
    results = made_up_results(["head_only"], ABCD) | made_up_results(["full"], ["AB", "CD"])
    with pytest.raises(UserError, match=r"full/predictions.csv: classes must be those of head_"):
        curves.comparison_tables(results)


def test_a_metrics_file_without_a_key_is_refused_by_name():
    results = made_up_results(["full"], ABCD)
    metrics = {key: value for key, value in results["full"].metrics.items() if key != "kappa"}
    with pytest.raises(UserError, match=r"evaluation/full/metrics.json: key kappa is missing"):
        curves.comparison_tables({"full": replace(results["full"], metrics=metrics)})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda table: table[table["split"] == "val"], "no row of split test"),
        (lambda table: table.assign(label="E"), "label must be one of A, B, C, D, got E"),
        (lambda table: table.iloc[:0], "predictions.csv: no rows"),
        (lambda table: table[["split", "label"]], "columns probability_<class> are needed"),
    ],
)
def test_faulty_predictions_are_refused(fault, message):
    result = made_up_results(["full"], ABCD)["full"]
    with pytest.raises(UserError, match=message):
        curves.strategy_tables(result.history, fault(result.predictions))


def test_a_history_of_other_classes_is_refused():
    result = made_up_results(["full"], ABCD)["full"]
    history = result.history.drop(columns="predicted_share_C")
    with pytest.raises(UserError, match=r"history.csv: column predicted_share_C is missing"):
        curves.share_history(history, result.predictions)
