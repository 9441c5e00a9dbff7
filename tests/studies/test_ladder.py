"""The collapse study: what a row is, the truth, and the detector's score."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo import paths
from mammo.errors import UserError
from mammo.network.backbones import architecture_of
from mammo.network.compute import start
from mammo.network.weights import body, random_network, save_backbone
from mammo.params import load_params, parse_params
from mammo.storage.files import read_table
from mammo.storage.tensors import Tensors
from studies.collapse.ladder.bench import load_sections
from studies.collapse.ladder.pictures import PicturesParams, plan_table, write_pictures
from studies.collapse.ladder.records import load_ladder
from studies.collapse.ladder.rows import Bench, RowParams, draw_fold, run_row
from studies.collapse.ladder.rules import Rule, alarms
from studies.collapse.ladder.verdict import (
    TruthParams,
    detector_table,
    final_streak,
    runs_table,
)

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies/collapse"
OWN = STUDY / "params.yaml"
SECTIONS = load_sections(OWN, ROOT / paths.PARAMS)
TRUTH = load_params("truth", TruthParams, OWN)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Few pictures and random weights: enough for what doesn't depend on skill."""
    folder = tmp_path_factory.mktemp("bench")
    values = SECTIONS.pictures.model_dump()
    values["phantom"] |= {"images": 120, "min_patients": 1}
    values["held_out"]["images"] = 80
    write_pictures(folder, PicturesParams.model_validate(values))
    weights = folder / "backbone.safetensors"
    backbone = SECTIONS.backbone
    save_backbone(body(random_network(backbone).state_dict(), architecture_of(backbone)), weights)
    return Bench(
        Tensors(folder), read_table(folder / "plan.csv"), weights, backbone, SECTIONS.common,
        SECTIONS.augment, SECTIONS.collapse, start(SECTIONS.compute),
    )  # fmt: skip


def patients(bench, positions):
    table = bench.table.set_index("key")["patient"]
    return {table[bench.tensors.keys[p]] for p in positions}


def test_every_row_and_seed_tests_the_same_patients_and_trains_on_none_of_them(bench):
    tested = []
    for row in SECTIONS.rows.values():
        for seed in range(3):
            fold, test = draw_fold(row, seed, bench)
            tested.append(test.tolist())
            assert not patients(bench, test) & patients(bench, [*fold.train, *fold.val])
            assert not set(fold.train) & set(fold.val)
            assert len(fold.train) + len(fold.val) == 120
            shared = patients(bench, fold.train) & patients(bench, fold.val)
            assert bool(shared) is not row.grouped
    assert all(positions == tested[0] for positions in tested)
    assert len(tested[0]) == 80


def test_the_patients_who_are_tested_come_from_another_seed():
    values = SECTIONS.pictures.model_dump()
    values["held_out"]["seed"] = values["phantom"]["seed"]
    with pytest.raises(UserError, match=r"held_out\.seed must differ"):
        parse_params("pictures", values, PicturesParams)
    table = plan_table(SECTIONS.pictures)
    assert table["key"].is_unique
    shares = table[table["published_split"] == "train"]["label"].value_counts(normalize=True)
    assert shares["C"] > 0.5 and shares["A"] == pytest.approx(0.025)


def one_epoch(name, **changes):
    values = {"epochs": 1, "warmup_epochs": 0} | changes
    return RowParams.model_validate(SECTIONS.rows[name].model_dump() | values)


def test_a_run_is_repeatable_and_its_frozen_blocks_stay(bench):
    first, second = (run_row("sampler", one_epoch("sampler"), 1, bench) for _ in range(2))
    assert first == second
    assert first[0]["drift_sd"] == 0 and first[0]["drift_var"] == 0
    assert [record["epoch"] for record in first] == [1]


def test_a_prefix_in_train_mode_drifts_though_no_parameter_of_it_trains(bench):
    drifted = run_row("prefix_drifts", one_epoch("prefix_drifts", lr=1e-9), 0, bench)
    assert drifted[0]["drift_sd"] > 1e-3
    row, twin = SECTIONS.rows["prefix_drifts"], SECTIONS.rows["sampler"]
    differing = {k for k in RowParams.model_fields if getattr(row, k) != getattr(twin, k)}
    assert differing == {"what", "prefix_in_train_mode"}


def test_where_everything_trains_nothing_counts_as_drift(bench):
    row = one_epoch("full", batch_size=16)
    assert run_row("full", row, 0, bench)[0]["drift_sd"] is None


def test_pairs_of_rows_that_a_claim_compares_differ_in_one_thing():
    roles = load_ladder(OWN, ROOT / paths.PARAMS).roles

    def differing(first, second):
        pair = SECTIONS.rows[first], SECTIONS.rows[second]
        return {k for k in RowParams.model_fields if getattr(pair[0], k) != getattr(pair[1], k)}

    assert differing(*roles.optimisation) == {"what", "lr"}
    assert differing(*roles.prior) == {"what", "weighted_sampler"}
    assert differing(roles.sampler, roles.unbalanced) == {"what", "weighted_sampler"}
    assert differing(roles.sampler, roles.double) == {"what", "class_weights", "allow_double"}


def test_a_row_that_balances_twice_must_say_that_it_means_it():
    values = SECTIONS.rows["double"].model_dump() | {"allow_double": False}
    with pytest.raises(ValueError, match="double balancing"):
        RowParams.model_validate(values).balancing()


def run_of(row, truth, val, alarms, seed=0):
    """Made-up records: c is collapsed and . is not, a letter an epoch; alarms at their epochs."""
    return pd.DataFrame(
        {
            "row": row, "seed": seed, "epoch": range(1, len(truth) + 1),
            "val_status": ["collapsed" if v == "c" else "healthy" for v in val],
            "alarm": [int(epoch in alarms) for epoch in range(1, len(truth) + 1)],
            "val_bal_acc_adj": 0.5, "test_kappa": 0.5, "test_favourite": "C",
            "test_bal_acc_adj": [0.0 if t == "c" else 0.5 for t in truth],
            "test_share": [1.0 if t == "c" else 0.4 for t in truth],
            "drift_sd": np.nan, "drift_var": np.nan,
        }
    )  # fmt: skip


def test_the_onset_is_the_start_of_the_last_unbroken_run_of_collapsed_epochs():
    epochs = pd.concat(
        [
            run_of("early", "cccccc", "cccccc", [2]),
            run_of("again", "cc.ccc", "cc.ccc", [2, 5]),
            run_of("mended", "cccc..", "cccc..", [2]),
            run_of("never", "......", "......", []),
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
    epochs = run_of("row", "c", "c", [])
    assert runs_table(epochs, TRUTH)["collapsed"].tolist() == [1]
    assert runs_table(epochs.assign(test_share=0.94), TRUTH)["collapsed"].tolist() == [0]
    assert runs_table(epochs.assign(test_bal_acc_adj=0.1), TRUTH)["collapsed"].tolist() == [0]


def test_the_detector_is_scored_by_alarms_that_stand_and_by_any():
    epochs = pd.concat(
        [
            run_of("found", "..cccc", "..cccc", [4]),
            run_of("late", "cccccc", "...ccc", [5]),
            run_of("missed", "....cc", "......", []),
            run_of("passing", "cc....", "cc....", [2]),
            run_of("false", "......", "....cc", [6]),
            run_of("quiet", "......", "......", []),
        ]
    )
    found = detector_table(runs_table(epochs, TRUTH), TRUTH)
    counts = {key: found[key] for key in ("collapsed", "detected", "in_time", "healthy")}
    assert counts == {"collapsed": 3, "detected": 2, "in_time": 1, "healthy": 3}
    assert found["lags"] == [1, 4]
    assert (found["alarmed"], found["standing"], found["passing"]) == (2, 1, 1)
    assert found["precision"] == pytest.approx(2 / 3) and found["recall"] == pytest.approx(2 / 3)
    assert found["precision_ever"] == pytest.approx(2 / 4)


def test_without_a_collapsed_run_there_is_no_recall():
    found = detector_table(runs_table(run_of("row", "...", "...", []), TRUTH), TRUTH)
    assert found["recall"] is None and found["precision"] is None


@pytest.mark.parametrize(
    ("statuses", "rule", "raised"),
    [
        ("cccc", Rule(2, counts_warmup=False), [4]),
        ("cccc", Rule(2, counts_warmup=True), [3]),
        ("cccc", Rule(1, counts_warmup=False), [3]),
        ("..c.cc", Rule(2, counts_warmup=True), [6]),
        ("c.cccc.cc", Rule(2, counts_warmup=False), [4, 9]),
        ("cc....", Rule(1, counts_warmup=True), []),
    ],
)
def test_a_rule_raises_one_alarm_a_streak_and_none_in_the_warm_up(statuses, rule, raised):
    names = ["collapsed" if status == "c" else "healthy" for status in statuses]
    found = alarms(names, 2, rule)
    assert [epoch for epoch, alarm in enumerate(found, start=1) if alarm] == raised
