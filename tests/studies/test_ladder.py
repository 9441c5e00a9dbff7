"""The collapse study: what a row is, the truth, the detector's score, the rules, the claims."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mammo import paths
from mammo.errors import UserError
from studies.collapse.ladder.bench import drift, statistics
from studies.collapse.ladder.claims import CLAIMS, Runs, claims
from studies.collapse.ladder.records import load_ladder
from studies.collapse.ladder.rows import RowParams, StepParams, draw_cases, load_sections
from studies.collapse.ladder.rules import (
    Rule,
    alarms,
    candidates,
    choose_rule,
    collapsed_epochs,
    judged_by,
    pipeline_rule,
    rules_report,
    standing_epochs,
)
from studies.collapse.ladder.verdict import detector_table, final_streak, rows_table, runs_table

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "studies/collapse/params.yaml"
SECTIONS = load_sections(OWN, ROOT / paths.PARAMS)
LADDER = load_ladder(OWN, ROOT / paths.PARAMS)
TRUTH = LADDER.truth
RULE = pipeline_rule(LADDER.detector)


def leaves(values, prefix=""):
    """Flatten nested settings to dotted keys."""
    found = {}
    for key, value in values.items():
        nested = isinstance(value, dict)
        found |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def test_every_row_changes_one_thing_in_the_row_that_it_follows():
    for name, step in SECTIONS.steps.items():
        assert isinstance(SECTIONS.row(name), RowParams)
        if step.after is None:
            continue
        before, after = leaves(SECTIONS.settings(step.after)), leaves(SECTIONS.settings(name))
        differing = {key for key in after if after[key] != before[key]}
        allowed = {"balancing.allow_double"}  # the pipeline's leave for what is changed
        assert len(differing - allowed) == 1, name


def test_a_row_follows_one_that_stands_before_it_and_is_known():
    steps = {"one": StepParams(what="", after="two", set=[])}
    sections = load_sections(OWN, ROOT / paths.PARAMS)
    with pytest.raises(UserError, match="a row before it, got two"):
        type(sections)(**{**vars(sections), "steps": steps}).settings("one")
    with pytest.raises(UserError, match="there is no nobody"):
        sections.settings("nobody")


def test_the_documents_row_is_full_fine_tuning_for_ten_epochs_without_balancing():
    row = SECTIONS.row(LADDER.roles.full)
    assert (row.strategy.epochs, row.strategy.lr, row.strategy.head) == (10, 1e-4, "gradient")
    recipe = SECTIONS.recipe_of(LADDER.roles.full, 0)
    assert recipe.trained_blocks == recipe.blocks
    assert row.balancing.weighted_sampler is False and row.balancing.class_weights == "none"
    assert LADDER.shares == {"A": 40, "B": 363, "C": 849, "D": 335}


def images(patients=40):
    rows = [
        (f"p{n:02}-{side}-{view}", f"p{n:02}", "ABCD"[n % 4])
        for n in range(patients)
        for side in "LR"
        for view in ("CC", "MLO")
    ]
    return pd.DataFrame(rows, columns=["key", "patient", "label"])


def test_every_run_tests_the_same_patients_and_trains_on_none_of_them():
    tested = []
    for grouped in (True, False):
        for seed in range(3):
            cases = draw_cases(images(), grouped, seed, SECTIONS.split)
            of = {
                s: set(cases.loc[cases["split"] == s, "patient"]) for s in ("train", "val", "test")
            }
            assert not of["test"] & (of["train"] | of["val"])
            assert bool(of["train"] & of["val"]) is not grouped
            tested.append(of["test"])
    assert all(found == tested[0] for found in tested)
    assert 18 <= len(tested[0]) <= 22


def run_of(row, truth, val, seed=0, alarmed=None):
    """Made-up records: c is collapsed and . is not, a letter an epoch, in truth and on val."""
    count = len(truth)
    found = pd.DataFrame(
        {
            "row": row, "seed": seed, "epoch": range(1, count + 1),
            "val_kappa": [0.0 if v == "c" else 0.5 for v in val],
            "val_share": [1.0 if v == "c" else 0.4 for v in val],
            "val_true_share": 0.5, "val_missed": [20 if v == "c" else 0 for v in val],
            "val_status": ["collapsed" if v == "c" else "healthy" for v in val],
            "val_bal_acc_adj": 0.5, "test_kappa": 0.5, "test_favourite": "C",
            "test_bal_acc_adj": [0.0 if t == "c" else 0.5 for t in truth],
            "test_share": [1.0 if t == "c" else 0.4 for t in truth],
            "drift_sd": np.nan, "drift_var": np.nan,
        }
    )  # fmt: skip
    if alarmed is not None:
        found["fallen"] = [v == "c" for v in val]
        found["stands"] = found["fallen"]
        found["alarm"] = [int(epoch in alarmed) for epoch in range(1, count + 1)]
    return found


def test_the_onset_is_the_start_of_the_last_unbroken_run_of_collapsed_epochs():
    epochs = pd.concat(
        [
            run_of("early", "cccccc", "cccccc", alarmed=[2]),
            run_of("again", "cc.ccc", "cc.ccc", alarmed=[2, 5]),
            run_of("mended", "cccc..", "cccc..", alarmed=[2]),
            run_of("never", "......", "......", alarmed=[]),
        ]
    )
    runs = runs_table(epochs, TRUTH).set_index("row")
    assert runs["onset"].fillna(0).tolist() == [1, 4, 0, 0]
    assert runs["collapsed"].tolist() == [1, 1, 0, 0]
    assert runs["first_alarm"].fillna(0).tolist() == [2, 2, 2, 0]
    assert runs["standing_alarm"].fillna(0).tolist() == [2, 5, 0, 0]
    assert runs["ever_collapsed"].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(("flags", "count"), [("", 0), ("c", 1), (".", 0), ("c.cc", 2)])
def test_a_final_streak_counts_back_from_the_end(flags, count):
    assert final_streak(np.array([flag == "c" for flag in flags], dtype=bool)) == count


def test_an_epoch_is_collapsed_in_truth_only_if_both_signs_are_there():
    epochs = run_of("row", "c", "c", alarmed=[])
    assert runs_table(epochs, TRUTH)["collapsed"].tolist() == [1]
    assert runs_table(epochs.assign(test_share=0.94), TRUTH)["collapsed"].tolist() == [0]
    assert runs_table(epochs.assign(test_bal_acc_adj=0.1), TRUTH)["collapsed"].tolist() == [0]


def test_the_detector_is_scored_by_alarms_that_stand_and_by_any():
    epochs = pd.concat(
        [
            run_of("found", "..cccc", "..cccc", alarmed=[4]),
            run_of("late", "cccccc", "...ccc", alarmed=[5]),
            run_of("missed", "....cc", "......", alarmed=[]),
            run_of("passing", "cc....", "cc....", alarmed=[2]),
            run_of("false", "......", "....cc", alarmed=[6]),
            run_of("mended", "cc....", "....cc", alarmed=[6]),
            run_of("quiet", "......", "......", alarmed=[]),
        ]
    )
    found = detector_table(runs_table(epochs, TRUTH), TRUTH)
    counts = {key: found[key] for key in ("collapsed", "detected", "in_time", "healthy")}
    assert counts == {"collapsed": 3, "detected": 2, "in_time": 1, "healthy": 4}
    assert found["lags"] == [1, 4]
    assert (found["alarmed"], found["standing"], found["standing_never"]) == (3, 2, 1)
    assert found["precision"] == pytest.approx(2 / 4) and found["recall"] == pytest.approx(2 / 3)


def test_without_a_collapsed_run_there_is_no_recall():
    found = detector_table(runs_table(run_of("row", "...", "...", alarmed=[]), TRUTH), TRUTH)
    assert found["recall"] is None and found["precision"] is None


@pytest.mark.parametrize(
    ("fallen", "rule", "raised"),
    [
        ("cccc", Rule(2, False, 0.99, 0.2, 0.0), [4]),
        ("cccc", Rule(2, True, 0.99, 0.2, 0.0), [3]),
        ("cccc", Rule(1, False, 0.99, 0.2, 0.0), [3]),
        ("..c.cc", Rule(2, True, 0.99, 0.2, 0.0), [6]),
        ("c.cccc.cc", Rule(2, False, 0.99, 0.2, 0.0), [4, 9]),
        ("cc....", Rule(1, True, 0.99, 0.2, 0.0), []),
    ],
)
def test_a_rule_raises_one_alarm_a_streak_and_none_in_the_warm_up(fallen, rule, raised):
    found = alarms([letter == "c" for letter in fallen], 2, rule)
    assert [epoch for epoch, alarm in enumerate(found, start=1) if alarm] == raised


def test_a_solved_head_of_one_record_waits_for_no_second_epoch():
    assert alarms([True], 0, Rule(2, False, 0.99, 0.2, 0.0)) == [1]


def test_an_epoch_is_collapsed_by_one_class_or_by_a_low_kappa_with_a_class_lost():
    epochs = pd.DataFrame(
        {
            "val_share": [0.99, 0.99, 0.5, 0.5, 0.5],
            "val_true_share": [0.5, 0.96, 0.5, 0.5, 0.5],
            "val_kappa": [0.3, 0.3, 0.1, 0.1, 0.3],
            "val_missed": [0, 0, 5, 4, 5],
        }
    )
    found = collapsed_epochs(epochs, Rule(2, False, 0.99, 0.2, 0.0), LADDER.detector)
    assert found.tolist() == [True, False, True, False, False]
    without = collapsed_epochs(epochs, Rule(2, False, 0.99, 0.0, 0.0), LADDER.detector)
    assert without.tolist() == [True, False, False, False, False]


def test_at_the_end_an_alarm_stands_only_where_nearly_all_answers_are_one_class():
    run = run_of("row", "....", "cccc").assign(val_share=[1.0, 1.0, 1.0, 0.6])
    rule = Rule(2, False, 0.99, 0.2, 0.9)
    assert standing_epochs(run, rule, LADDER.detector).tolist() == [True, True, True, False]
    row = next(name for name, held in LADDER.warmups.items() if held == 0)
    found = judged_by(run.assign(row=row), rule, LADDER)
    assert found["alarms"].tolist() == [1] and found["standing_alarm"].isna().all()
    found = judged_by(run.assign(row=row, val_share=1.0), rule, LADDER)
    assert found["standing_alarm"].tolist() == [2]


def ladder_of(*runs):
    rows = list(LADDER.steps)
    parts = [run_of(rows[n], *run) for n, run in enumerate(runs)]
    return pd.concat(parts, ignore_index=True)


def test_the_pipelines_rule_stays_where_no_other_misses_less():
    epochs = ladder_of(("cccccc", "cccccc"), ("......", "......"))
    assert choose_rule(epochs, LADDER) == RULE == candidates(LADDER.detector)[0]


def test_another_rule_is_chosen_on_half_of_the_seeds_and_judged_on_the_rest():
    lost = run_of("full", "......", "....cc")  # low kappa and a class lost, but no one class
    lost["val_share"] = 0.93
    seeds = [lost.assign(seed=seed) for seed in range(LADDER.seeds)]
    report = rules_report(pd.concat(seeds, ignore_index=True), LADDER)
    assert not report["same"]
    judged = report["halves"]["judged on"]
    assert judged["pipeline"]["faults"] == LADDER.seeds - LADDER.seeds // 2
    assert judged["chosen"]["faults"] == 0


def test_each_claim_is_judged_and_says_what_its_verdict_means():
    parts = []
    for name in LADDER.steps:
        for seed in range(2):
            fallen = name in (LADDER.roles.rate, LADDER.roles.head_unbalanced)
            letters = "cccccc" if fallen else "......"
            run = run_of(name, letters, letters, seed)
            run["test_kappa"] = 0.0 if fallen else 0.5 + 0.01 * len(name)
            run[["drift_sd", "drift_var"]] = 0.1 if name == LADDER.roles.drifting else np.nan
            parts.append(run)
    epochs = pd.concat(parts, ignore_index=True)
    runs = judged_by(epochs, RULE, LADDER)
    held = {c["claim"]: c for c in claims(Runs(runs, rows_table(runs), LADDER.roles))}
    assert list(held) == list(CLAIMS)
    verdicts = {claim: found["holds"] for claim, found in held.items()}
    assert verdicts["Full fine-tuning without balancing collapses"] == "no"
    assert verdicts["There is a collapse of optimisation: the learning rate alone decides"] == "yes"
    prior = "There is a collapse of the prior: at a sane rate the imbalance decides"
    assert verdicts[prior] == "yes"
    assert verdicts["A solved head doesn't collapse"] == "yes"
    assert all(found["means"] and found["evidence"] for found in held.values())


def test_drift_is_measured_in_what_batchnorm_divides_by():
    norm = nn.BatchNorm2d(2)
    norm.running_var = torch.tensor([0.0, 4.0])  # a channel that never varies, as ImageNet's have
    before = statistics([norm])
    norm.running_mean, norm.running_var = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 6.0])
    found = drift(before, [norm])
    assert found["drift_sd"] == pytest.approx(0.25, rel=1e-4)
    assert found["drift_var"] == pytest.approx(0.25, rel=1e-4)
    assert drift(statistics([nn.ReLU()]), [nn.ReLU()]) == {"drift_sd": None, "drift_var": None}
