"""The collapse study on disk: the ladder's params and the recorded epochs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from mammo import paths
from mammo.evaluation.params import CollapseParams
from mammo.params import Params, load_leaf, load_params, read_params
from mammo.storage.files import read_table
from studies.cells.arms import overridden
from studies.collapse.ladder.rows import StepParams, load_sections

FLOATS = [
    f"{split}_{name}" for split in ("val", "test") for name in ("bal_acc_adj", "kappa", "share")
]


class TruthParams(Params):
    """Section `truth`: an epoch is collapsed if both hold on test."""

    bal_acc_adj_below: Annotated[float, Field(ge=0, le=1)]
    share_from: Annotated[float, Field(ge=0, le=1)]
    within_epochs: Annotated[int, Field(ge=0)]


class RolesParams(Params):
    """Section `roles`: which rows the claims are about."""

    full: str
    rate: str
    start: str
    unbalanced: str
    sampler: str
    weights: str
    double: str
    head: str
    head_unbalanced: str
    solved: str
    solved_unbalanced: str
    drifting: str
    grouped: str


@dataclass(frozen=True)
class Ladder:
    """What judging the runs needs of the params.

    Attributes:
        steps: The rows, in order.
        warmups: Epochs in which each row's head alone trains.
        detector: The pipeline's thresholds.
        roles: Which rows the claims are about.
        truth: When an epoch is collapsed in truth.
        seeds: Of every row.
        images: Of all patients; half of them are tested.
        shares: Of the classes, as they are drawn.
        size_px: Side of the pictures.
    """

    steps: dict[str, StepParams]
    warmups: dict[str, int]
    detector: CollapseParams
    roles: RolesParams
    truth: TruthParams
    seeds: int
    images: int
    shares: dict[str, float]
    size_px: int

    def label(self, name: str) -> str:
        """Say in words what a row is."""
        step = self.steps[name]
        return step.what if step.after is None else f"as `{step.after}`; changed: {step.what}"


def load_ladder(study: Path, pipeline: Path = paths.PARAMS) -> Ladder:
    """Load the ladder from the study's params file, the detector from the root's."""
    sections = load_sections(study, pipeline)
    changes = load_leaf("pictures", list[str], study)
    pictures = overridden(read_params(pipeline), changes, f"{study}: pictures")
    return Ladder(
        steps=sections.steps,
        warmups={name: sections.row(name).strategy.held_epochs for name in sections.steps},
        detector=sections.collapse,
        roles=load_params("roles", RolesParams, study),
        truth=load_params("truth", TruthParams, study),
        seeds=sections.seeds,
        images=pictures["phantom"]["images"],
        shares=pictures["phantom"]["class_shares"],
        size_px=pictures["preprocess"]["size_px"],
    )


def read_epochs(folder: Path, rows: Sequence[str]) -> pd.DataFrame:
    """Read the records of all runs, in the order of the ladder."""
    kinds: dict[str, type] = dict.fromkeys(("seed", "epoch", "val_missed"), int)
    kinds |= dict.fromkeys([*FLOATS, "val_true_share"], float)
    epochs = pd.concat(
        [read_table(folder / f"{name}.csv", **kinds) for name in rows], ignore_index=True
    )
    for column in ("drift_sd", "drift_var"):
        epochs[column] = pd.to_numeric(epochs[column])  # blank where nothing is frozen
    return epochs
