"""The sweep: its space, its file, a collapsed training cut short, what it prints."""

from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from mammo.errors import UserError
from mammo.params import parse_params, read_params
from studies.cells.arms import overridden
from studies.sweep import run
from studies.sweep.run import Collapsed, Follower, open_sweep, summary, sweep
from studies.sweep.space import SweepParams, as_changes, as_lines
from support.pipeline_copy import ROOT

VALUES = read_params(ROOT / "params.yaml")
OWN = read_params(ROOT / "studies/sweep/params.yaml")["sweep"]


def space(**axes):
    return parse_params("sweep", {**OWN, "space": axes}, SweepParams)


def test_the_committed_space_names_keys_of_params_yaml():
    params = parse_params("sweep", OWN, SweepParams)
    assert params.strategy in VALUES["strategies"]
    low = {
        key: axis.get("low", axis.get("choices", [None])[0]) for key, axis in OWN["space"].items()
    }
    changed = overridden(VALUES, as_changes(low), "space")
    for key, value in low.items():
        found = changed
        for part in key.split("."):
            found = found[part]
        assert found == value


def test_a_range_must_ascend():
    with pytest.raises(UserError, match="low must be less than high"):
        space(**{"train.weight_decay": {"low": 1.0, "high": 0.1, "log": True}})


def test_an_assignment_becomes_changes_and_lines_of_params_yaml():
    values = {"strategies.last_block.lr": 0.0003, "train.batchnorm": "eval", "train.ema_decay": 0.0}
    assert as_changes(values) == [
        "strategies.last_block.lr=0.0003", "train.batchnorm=eval", "train.ema_decay=0.0",
    ]  # fmt: skip
    lines = yaml.safe_load(as_lines(values))
    assert lines == {
        "strategies": {"last_block": {"lr": 0.0003}},
        "train": {"batchnorm": "eval", "ema_decay": 0.0},
    }


def test_two_workers_share_one_file_and_a_collapsed_training_is_pruned(tmp_path, monkeypatch):
    """Training itself is replaced by arithmetic: what is tested is what goes around it."""
    params = space(**{"balancing.power": {"low": 0.0, "high": 1.0, "log": False}})

    def trained(values, params, trial):
        if values["balancing"]["power"] > 0.5:
            raise Collapsed
        return values["balancing"]["power"]

    monkeypatch.setattr(run, "train_once", trained)
    journal = tmp_path / "trials.log"
    for seed in (0, 1):
        sweep(open_sweep("s", seed, journal), params, VALUES, 5)
    study = open_sweep("s", 2, journal)
    states = [trial.state for trial in study.trials]
    assert len(states) == 10 and states.count(TrialState.PRUNED) > 0
    assert states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED) == 10
    said = summary(study, params)
    best = max(trial.value for trial in study.trials if trial.value is not None)
    assert f"{best:.3f}" in said and "10 trials" in said
    assert "balancing:\n  power:" in said and "dvc exp run -S 'balancing.power=" in said


def rows(*statuses):
    return [
        {"split": "val", "epoch": epoch, "status": status, "kappa_quadratic": 0.1}
        for epoch, status in enumerate(statuses, start=1)
    ]


def follow(statuses, patience=2, held=0):
    trial = open_trial()
    follower = Follower("kappa_quadratic", patience, held, trial)
    for row in rows(*statuses):
        follower(row)


def open_trial():
    return optuna.create_study().ask()


def test_a_training_is_cut_short_after_patience_collapsed_epochs_outside_the_warm_up():
    follow(["collapsed", "healthy", "collapsed"])
    follow(["collapsed", "collapsed"], held=1)
    with pytest.raises(Collapsed):
        follow(["healthy", "collapsed", "collapsed"])


def test_epochs_are_written_down_from_the_workspace_of_a_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = open_sweep("s", 0, Path("data/trials.log"))
    trial = study.ask()
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")
    trial.report(0.5, 1)
    assert study.trials[0].intermediate_values == {1: 0.5}
