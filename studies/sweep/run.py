"""Sweep parameters of one strategy: `python -m studies.sweep.run --trials 20`, from the root.

Optuna proposes, the library trains as stage `train` does, val judges; a training that collapses is
cut short. Every trial goes to one file, so the same command in another terminal, or on another
machine that sees the folder, takes part in the same sweep, and a later one goes on with it. The
best trial's lines for params.yaml are printed. Test is never looked at.
"""

import argparse
import contextlib
import logging
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.errors import UserError
from mammo.params import load_params, read_params
from mammo.stage import run_stage
from mammo.training.history import Row
from mammo.training.settings import load_recipe
from mammo.training.trial import Stored, prepare, run_trial, start_alone
from studies.cells.arms import overridden
from studies.cells.workspace import workspace
from studies.sweep.space import SweepParams, as_changes, as_lines

HERE = Path("studies/sweep")
JOURNAL = HERE / "data" / "trials.log"
SHARED = (
    paths.TENSORS, paths.WEIGHTS, paths.EMBEDDINGS, paths.IMAGES, paths.LABELS, paths.SPLITS,
)  # fmt: skip


class Collapsed(Exception):
    """The training has collapsed on val for `collapse.patience` epochs."""


def open_sweep(name: str, seed: int, journal: Path = JOURNAL) -> optuna.Study:
    """Open a sweep in its file, or begin it."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(journal.resolve()))),
        direction="maximize",
        # counts trainings under way elsewhere as bad ones, so that workers spread out
        sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        load_if_exists=True,
    )


def train_once(values: dict[str, Any], params: SweepParams, trial: optuna.Trial) -> float:
    """Train with all of params.yaml as `values`; return the objective of the kept epoch.

    Raises:
        Collapsed: The training was cut short.
    """
    shared = {path: path for path in SHARED}
    with workspace(values, shared) as folder, contextlib.chdir(folder):
        recipe = load_recipe(params.strategy)
        stored = Stored(paths.BACKBONE, paths.EMBEDDINGS / params.strategy, paths.TENSORS)
        cases = read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS)
        prepared = prepare(recipe, stored, cases, start_alone(recipe))
        follow = Follower(params.objective, recipe.collapse.patience, prepared.job.held, trial)
        outcome = run_trial(prepared, follow if recipe.by_gradient else lambda row: None).outcome
    kept = next(r for r in outcome.rows if r["epoch"] == outcome.best.epoch and r["split"] == "val")
    return float(kept[params.objective] or 0)


class Follower:
    """Reports every epoch to Optuna, and ends a training that has collapsed."""

    def __init__(self, objective: str, patience: int, held: int, trial: optuna.Trial):
        self.objective, self.patience, self.held, self.trial = objective, patience, held, trial
        self.streak = 0

    def __call__(self, row: Row) -> None:
        """Take in a row of the history.

        Raises:
            Collapsed: `patience` collapsed epochs in a row, none of the warm-up.
        """
        if row["split"] != "val":
            return
        self.trial.report(float(row[self.objective] or 0), row["epoch"])
        fallen = row["status"] == "collapsed" and row["epoch"] > self.held
        self.streak = self.streak + 1 if fallen else 0
        if self.streak >= self.patience:
            raise Collapsed


def sweep(study: optuna.Study, params: SweepParams, values: dict[str, Any], trials: int) -> None:
    """Ask, train and tell, so many times.

    Raises:
        UserError: A key of the space isn't in params.yaml, or a value isn't allowed there.
    """
    for _ in range(trials):
        trial = study.ask(params.distributions())
        where = f"{HERE / 'params.yaml'}: sweep.space"
        try:
            found = train_once(overridden(values, as_changes(trial.params), where), params, trial)
        except Collapsed:
            study.tell(trial, state=TrialState.PRUNED)
        except UserError:
            study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            study.tell(trial, found)


def summary(study: optuna.Study, params: SweepParams) -> str:
    """Say how many trials there were and what the best one asks of params.yaml."""
    trials = study.get_trials(deepcopy=False)
    counts = {state: sum(t.state == state for t in trials) for state in TrialState}
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    said = (
        f"{len(trials)} trials: {counts[TrialState.COMPLETE]} complete, "
        f"{counts[TrialState.PRUNED]} collapsed and cut short, {counts[TrialState.FAIL]} failed, "
        f"{counts[TrialState.RUNNING]} under way."
    )
    if not done:
        return said
    best = max(done, key=_value)
    table = "\n".join(
        f"  {_value(t):.3f}  {' '.join(as_changes(t.params))}"
        for t in sorted(done, key=_value, reverse=True)[:5]
    )
    flags = " ".join(f"-S '{change}'" for change in as_changes(best.params))
    return (
        f"{said}\nBest by {params.objective} on val:\n{table}\n\n# params.yaml\n"
        f"{as_lines(best.params)}\n\ndvc exp run {flags} -S strategy={params.strategy} report\n"
        "\nThe best of many is flattered by being picked: judge it by cross-validation."
    )


def _value(trial: FrozenTrial) -> float:
    return float(trial.value or 0)


def main() -> None:
    """Run some trials, or with `--trials 0` only print what is known."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=20)
    asked = arguments.parse_args()
    logging.getLogger("optuna").setLevel(logging.WARNING)
    params = load_params("sweep", SweepParams, HERE / "params.yaml")
    study = open_sweep(params.strategy, params.seed)
    sweep(study, params, read_params(), asked.trials)
    print(summary(study, params))


if __name__ == "__main__":
    run_stage(main)
