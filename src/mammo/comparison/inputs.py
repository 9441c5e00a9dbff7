"""Read what the comparison needs from the stages before it, each fault with file and rule."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.comparison.arms import Arm
from mammo.comparison.baselines import Solver, solve_baselines
from mammo.errors import UserError
from mammo.evaluation.ensemble import ENSEMBLE
from mammo.evaluation.levels import class_names
from mammo.evaluation.predictions import CASE, read_predictions
from mammo.storage.files import read_json, read_table
from mammo.storage.tensors import OUTLINES, Tensors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class History:
    """What validation said while a strategy came about.

    Attributes:
        path_steps: Steps of the regularisation path; 0 for a head that wasn't solved alone.
        epochs: Trained by gradient.
        collapsed: Those of them that were collapsed.
        warning: Those with a warning.
        kept_status: Of the step or epoch that was kept.
        kept_share: Its largest predicted share.
    """

    path_steps: int
    epochs: int
    collapsed: tuple[int, ...]
    warning: tuple[int, ...]
    kept_status: str
    kept_share: float


@dataclass(frozen=True)
class Training:
    """How a strategy came about.

    Attributes:
        parameters: Trainable ones.
        percent: Of all.
        by_block: Trainable ones by block, the head last.
        best_epoch: The epoch, or step of the path, that was kept.
        alerts: Alarms for collapse.
        cpu: The arithmetic that its figures come from; '' where it isn't known.
        history: From `summarise_history`.
        refitted: Whether its head was solved once more, on train and val, to answer test.
    """

    parameters: int
    percent: float
    by_block: dict[str, int]
    best_epoch: int
    alerts: tuple[str, ...]
    cpu: str
    history: History
    refitted: bool = False


def read_arms(names: Sequence[str], folder: Path) -> dict[str, Arm]:
    """Read `<strategy>/{predictions.csv,metrics.json}` of every strategy named, in that order.

    Raises:
        UserError: A file is missing or a table lacks a column.
    """
    # A removed strategy's folder stays behind: DVC no longer knows it.
    for stranger in sorted({entry.name for entry in folder.glob("*/")} - {*names, ENSEMBLE}):
        logger.warning("%s: not among the strategies of params.yaml; ignored", folder / stranger)
    arms = {}
    for name in names:
        metrics = read_json(folder / name / "metrics.json")
        arms[name] = Arm(
            read_predictions(folder / name / "predictions.csv"),
            metrics.get("decision", "argmax"),
            metrics.get("parameters", ""),
            metrics.get("status", ""),
        )
    return arms


def read_trainings(names: Sequence[str], metrics: Path, plots: Path) -> dict[str, Training]:
    """Read what there is to say of how each strategy came about.

    Raises:
        UserError: A file is missing or lacks a key.
    """
    return {
        name: _read_training(metrics / f"{name}.json", plots / name / "history.csv")
        for name in names
    }


def _read_training(path: Path, history: Path) -> Training:
    metrics = read_json(path)
    known = ("trainable_parameters", "trainable_percent", "best_epoch")
    absent = [key for key in known if key not in metrics]
    if absent:
        raise UserError(f"{path}: must hold {', '.join(known)}, got no {absent[0]}")
    return Training(
        parameters=metrics["trainable_parameters"],
        percent=metrics["trainable_percent"],
        by_block=metrics.get("trainable_by_block", {}),
        best_epoch=metrics["best_epoch"],
        alerts=tuple(metrics.get("alerts", ())),
        cpu=metrics.get("cpu", ""),
        history=summarise_history(
            read_table(history, epoch=int, max_predicted_share=float), metrics["best_epoch"]
        ),
        refitted=metrics.get("refitted_head") is not None,
    )


def summarise_history(history: pd.DataFrame, best_epoch: int) -> History:
    """Sum up one strategy's validations.

    Args:
        history: `epoch, split, status, max_predicted_share`, one row an epoch and split; with a
            `penalty` where the row is a step of a regularisation path.
        best_epoch: The one that was kept.

    Raises:
        UserError: Nothing was validated.
    """
    rows = history[history["split"] == "val"].sort_values("epoch")
    if rows.empty:
        raise UserError("plots/training: history.csv must hold validation epochs, got none")
    of_path = rows.get("penalty", pd.Series("", index=rows.index)).astype(str) != ""
    epochs = rows[~of_path]
    kept = rows[rows["epoch"] == best_epoch]
    last = (kept if len(kept) else rows).iloc[-1]
    numbers = {
        status: tuple(int(e) for e in epochs.loc[epochs["status"] == status, "epoch"])
        for status in ("collapsed", "warning")
    }
    return History(
        path_steps=int(of_path.sum()),
        epochs=int((epochs["epoch"] > 0).sum()),
        collapsed=numbers["collapsed"],
        warning=numbers["warning"],
        kept_status=str(last["status"]),
        kept_share=float(f"{last['max_predicted_share']:.9g}"),
    )


@dataclass(frozen=True)
class BaselineArms:
    """The baselines' answers to what the strategies judged.

    Attributes:
        arms: By baseline.
        cross_fitted: Quadratic kappa on train, of answers that didn't see the patient; by those
            baselines that look at the images.
    """

    arms: dict[str, Arm]
    cross_fitted: dict[str, float]


def predict_baselines(
    judged: pd.DataFrame,
    cases: pd.DataFrame,
    tensors: Path,
    bins: int,
    solver: Solver,
    refit: bool,
) -> BaselineArms:
    """Let the baselines judge the images that the strategies judged.

    Args:
        judged: One strategy's predictions; its val and test images and classes are taken.
        cases: From `read_cases`; its train images are what the baselines learn from.
        tensors: The folder of the images and their outlines.
        bins: Of the histogram.
        solver: Solves heads as those of the strategies are solved.
        refit: Whether train and val together solve what judges test.

    Raises:
        UserError: A label isn't among the classes that were predicted.
    """
    classes = class_names(judged)
    position = {label: number for number, label in enumerate(classes)}
    strangers = sorted(set(cases["label"]) - set(classes))
    if strangers:
        raise UserError(
            f"data/labels.csv: labels must be among {', '.join(classes)}, got {strangers[0]!r}; "
            "run `dvc repro` so that the predictions are of these labels"
        )
    train = cases[cases["split"] == "train"]
    found = [split for split in ("val", "test") if (judged["split"] == split).any()]
    tables = {"train": train} | {split: judged[judged["split"] == split] for split in found}
    solved = solve_baselines(
        Tensors(tensors),
        Tensors(tensors / OUTLINES),
        {split: list(table["key"]) for split, table in tables.items()},
        {s: np.array([position[x] for x in t["label"]], int) for s, t in tables.items()},
        {split: table["patient"].to_numpy() for split, table in tables.items()},
        len(classes),
        bins,
        solver,
        refit,
    )
    arms = {
        name: Arm(
            pd.concat(
                [_predictions(name, tables[s], classes, by_split[s]) for s in found],
                ignore_index=True,
            )
        )
        for name, by_split in solved.probabilities.items()
    }
    return BaselineArms(arms, solved.cross_fitted)


def _predictions(
    name: str, table: pd.DataFrame, classes: Sequence[str], probabilities: np.ndarray
) -> pd.DataFrame:
    filled = table[CASE].assign(strategy=name)
    filled[[f"probability_{label}" for label in classes]] = probabilities
    return filled
