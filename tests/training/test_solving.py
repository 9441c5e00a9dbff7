"""A solved head: the path is the history, and the network's head answers as the solved one."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mammo.embedding.grey import GREY_NAMES, open_grey
from mammo.network.devices import start_fabric
from mammo.network.params import BLOCK_NAMES, BackboneParams
from mammo.storage.tensors import Tensors
from mammo.training.solving import Features, place_head, solve, solving_of
from mammo.training.trial import Stored, prepare, run_trial
from support.trainings import (
    BACKBONE,
    CLASSES,
    COMPUTE,
    lively_network,
    recipe,
    stored_folder,
    write_data,
)


@pytest.fixture(scope="module")
def fabric():
    return start_fabric(COMPUTE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    backbone = BackboneParams(**BACKBONE)
    return write_data(tmp_path_factory.mktemp("data"), backbone, lively_network(backbone))


def cases():
    numbers = np.arange(48)
    return pd.DataFrame(
        {
            "key": [f"k{n:02d}" for n in numbers],
            "patient": [f"p{n // 2:02d}" for n in numbers],
            "label": [CLASSES[n % 4] for n in numbers],
            "split": ["train" if n < 32 else "val" for n in numbers],
        }
    )


def trial_of(folder, fabric, trained=0, features="inner", table=None, **sections):
    strategy = {
        "unfreeze_last_blocks": trained, "features": features, "head": "solved", "epochs": 2,
        **sections.pop("strategy", {}),
    }  # fmt: skip
    chosen = recipe(strategy=strategy, **sections)
    grey = chosen.strategy.grey
    embeddings = stored_folder(folder, chosen.backbone, trained, features, grey)
    stored = Stored(folder / "backbone.safetensors", embeddings, folder / "tensors")
    return prepare(chosen, stored, cases() if table is None else table, fabric)


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [
        {"model": "multinomial"},
        {"model": "ordinal"},
        {"model": "ordinal", "select": "cross_fit"},
        {"model": "ordinal", "kernel": "rbf"},
        {"model": "multinomial", "kernel": "rbf"},
    ],
)
def test_the_network_answers_as_the_solved_head(folder, fabric, head):
    trial = trial_of(folder, fabric, head=head)
    solved = solve(trial.job, trial.features)
    place_head(trial.network.suffix.head, solved.head)
    clean = trial.features.clean(np.arange(48))
    with torch.no_grad():
        logits = trial.network.suffix.eval()(None, torch.from_numpy(clean).float())
    expected = solved.head.log_probabilities(clean)
    assert logits.log_softmax(dim=1).numpy() == pytest.approx(expected, abs=2e-3)


@pytest.mark.slow
def test_the_path_is_the_history_from_the_prior_to_overfitting(folder, fabric):
    rows = []
    penalties = {"strongest": 1e3, "weakest": 1e-8, "steps": 6}
    trial = trial_of(folder, fabric, head={"penalties": penalties})
    trained = run_trial(trial, rows.append)
    assert [row["epoch"] for row in rows[::2]] == [1, 2, 3, 4, 5, 6]
    assert rows == trained.outcome.rows
    train = [row for row in rows if row["split"] == "train"]
    assert train[0]["loss"] == pytest.approx(np.log(4), abs=0.01)  # the classes are equally common
    assert train[-1]["loss"] < 0.05
    assert [row["penalty"] for row in train] == sorted(
        (row["penalty"] for row in train), reverse=True
    )
    best = trained.outcome.best.epoch
    judged = [row["epoch"] for row in rows if row["status"]]
    assert judged == [best]  # no other step is healthy, warned of or collapsed
    assert trained.solved == {"step": best, "penalty": train[best - 1]["penalty"]}
    assert trained.outcome.alerts == []  # the first step predicts one class, and that is no alarm


@pytest.mark.slow
def test_a_solved_head_depends_on_no_training_seed(folder, fabric):
    one, other = (
        run_trial(trial_of(folder, fabric, train={"seed": seed}), lambda row: None)
        for seed in (1, 2)
    )
    for key, value in one.outcome.best.state.items():
        assert torch.equal(value, other.outcome.best.state[key])


@pytest.mark.slow
def test_deeper_strategies_start_from_the_solved_head(folder, fabric):
    rows = []
    trial = trial_of(
        folder, fabric, trained=1, features="last", strategy={"lr": 1e-9},
        train={"batchnorm": "eval", "dropout": 0},
    )  # fmt: skip
    trained = run_trial(trial, rows.append)
    assert [(row["epoch"], row["split"]) for row in rows[:3]] == [
        (0, "val"), (1, "train"), (1, "val"),
    ]  # fmt: skip
    alone = run_trial(trial_of(folder, fabric, features="last"), lambda row: None)
    kept = [r for r in alone.outcome.rows if r["epoch"] == alone.outcome.best.epoch]
    # stored half precision is what lies between the two
    assert rows[0]["loss"] == pytest.approx(kept[1]["loss"], rel=2e-2)
    assert trained.outcome.best.epoch == 0  # at a rate of nothing, no epoch is better


def test_a_class_that_no_training_image_has_is_never_answered(folder, fabric):
    table = cases()
    table.loc[(table["label"] == "B") & (table["split"] == "train"), "label"] = "C"
    with pytest.warns(UserWarning, match="B|class"):
        trained = run_trial(trial_of(folder, fabric, table=table), lambda row: None)
    val = [row for row in trained.outcome.rows if row["split"] == "val"]
    assert all(row["predicted_n_B"] == 0 for row in val)
    assert all(np.isfinite(row["loss"]) for row in val)


def log_probabilities(trial):
    clean = trial.features.clean(np.arange(48))
    with torch.no_grad():
        logits = trial.network.suffix.eval()(None, torch.from_numpy(clean).float())
    return logits.log_softmax(dim=1).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("select", ["val", "cross_fit"])
def test_a_head_is_solved_once_more_on_train_and_val(folder, fabric, select):
    trial = trial_of(folder, fabric, head={"select": select, "refit": True})
    trained = run_trial(trial, lambda row: None)
    again, features = trained.refitted.trial, trial.features
    fold = trial.job.fold
    assert len(features.widths) > 1
    path = solving_of(trial.recipe).path(
        features.views(np.arange(48)), fold.labels, fold.patients, features.widths
    )
    step = trained.solved["step"] - 1 if select == "val" else path.chosen
    expected = path.steps[step].head.log_probabilities(features.clean(np.arange(48)))
    assert log_probabilities(again) == pytest.approx(expected, abs=2e-3)
    assert trained.notes()["refitted_head"] == {
        "step": step + 1, "penalty": path.steps[step].penalty,
    }  # fmt: skip
    assert (again.facts()["fitted_on"], again.facts()["counts"]) == (["train", "val"], [12] * 4)


@pytest.mark.slow
def test_what_answers_val_is_the_same_with_and_without_refitting(folder, fabric):
    states = []
    for refit in (True, False):
        trial = trial_of(folder, fabric, head={"refit": refit})
        trained = run_trial(trial, lambda row: None)
        assert (trained.refitted is not None) == refit
        assert trial.facts()["fitted_on"] == ["train"] and trial.facts()["counts"] == [8] * 4
        states.append(trained.outcome.best.state)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.slow
def test_a_class_that_val_alone_has_is_learnt_by_refitting(folder, fabric):
    table = cases()
    table.loc[(table["label"] == "B") & (table["split"] == "train"), "label"] = "C"
    trial = trial_of(folder, fabric, table=table, head={"refit": True})
    with pytest.warns(UserWarning, match="class number 1"):
        trained = run_trial(trial, lambda row: None)
    trial.network.suffix.load_state_dict(trained.outcome.best.state)
    assert np.exp(log_probabilities(trial))[:, 1].max() == 0
    assert np.exp(log_probabilities(trained.refitted.trial))[:, 1].max() > 0.05
    assert trained.refitted.trial.facts()["counts"] == [12, 4, 20, 12]


@pytest.mark.slow
def test_where_blocks_train_nothing_is_refitted(folder, fabric):
    trial = trial_of(folder, fabric, trained=1, features="last", head={"refit": True})
    trained = run_trial(trial, lambda row: None)
    assert trained.refitted is None and trained.notes()["refitted_head"] is None


def test_facts_tell_how_to_use_the_suffix(folder, fabric):
    trial = trial_of(folder, fabric, balancing={"weighted_sampler": False})
    facts = trial.facts()
    assert facts["reads"] == list(BLOCK_NAMES["mobilenet_v2"][:-1])
    assert facts["counts"] == [8, 8, 8, 8]
    assert facts["prior"] == pytest.approx([0.25] * 4)
    assert facts["head"]["kind"] == "multinomial"


def imbalanced(val=None):
    """24 training images of C and 8 others."""
    table = cases()
    train = table["split"] == "train"
    table.loc[train & table["label"].isin(["A", "B"]), "label"] = "C"
    table.loc[train & (table["label"] == "D") & (table.index % 8 == 3), "label"] = "A"
    if val:
        table.loc[~train, "label"] = val
    return table


@pytest.mark.slow
def test_the_prior_is_that_of_the_training_that_made_the_head(folder, fabric):
    trial = trial_of(
        folder, fabric, trained=1, features="last", table=imbalanced(),
        strategy={"head": "gradient", "warmup_epochs": 0}, balancing={"weighted_sampler": False},
        train={"retrain_head_epochs": 1},
    )  # fmt: skip
    natural = [4 / 32, 0, 24 / 32, 4 / 32]
    assert trial.facts()["prior"] == pytest.approx(natural)
    trained = run_trial(trial, lambda row: None)
    assert trained.outcome.head_retrained
    assert trial.facts(trained.outcome)["prior"] == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])
    stopped = replace(trained.outcome, head_retrained=False)  # for collapse, before the second one
    assert trial.facts(stopped)["prior"] == pytest.approx(natural)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"head": {"select": "cross_fit"}}, "cross-fitting on train keeps the penalty"),
        ({"head": {"select": "val"}}, "the penalty of the least log-loss is kept"),
        (
            {"trained": 1, "features": "last", "train": {"keep": "last"}},
            "the last epoch is kept, and after a collapse the one of the least loss",
        ),
        (
            {"trained": 1, "features": "last", "train": {"keep": "best"}},
            "so the epoch of the least loss is kept",
        ),
    ],
)
def test_with_one_class_in_val_it_is_said_what_decides_instead(
    folder, fabric, caplog, options, said
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = run_trial(
            trial_of(folder, fabric, table=imbalanced(val="C"), **options), lambda row: None
        )
    (line,) = [r.getMessage() for r in caplog.records if "val holds one class" in r.getMessage()]
    assert said in line and "split.*" in line
    last = trained.outcome.rows[-1]["epoch"]
    val = {r["epoch"]: r["loss"] for r in trained.outcome.rows if r["split"] == "val"}
    if "the last epoch" in said:
        assert trained.outcome.best.epoch == last
    elif "epoch of the least loss" in said:
        assert trained.outcome.best.epoch == min(val, key=val.get)


def test_every_view_of_train_is_read_and_val_is_clean(folder, fabric):
    trial = trial_of(folder, fabric)
    features = trial.features
    assert isinstance(features, Features) and isinstance(features.pooled, Tensors)
    views = features.views(np.arange(3))
    assert views.shape[:2] == (3, 3)
    assert np.array_equal(views[:, 0], features.clean(np.arange(3)))
    grey = replace(features, grey=lambda positions: np.full((len(positions), 2), 7, np.float32))
    assert (grey.views(np.arange(3))[:, :, :2] == 7).all()


def test_a_head_that_reads_grey_features_finds_them_with_the_embeddings(folder, fabric):
    features = trial_of(folder, fabric, strategy={"grey": True}).features
    stored = open_grey(folder / "tensors")(np.arange(3))
    assert np.array_equal(features.clean(np.arange(3))[:, : len(GREY_NAMES)], stored)
