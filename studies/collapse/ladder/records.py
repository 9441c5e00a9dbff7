"""The collapse study on disk: the ladder's params, the recorded epochs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from mammo.params import Params, load_leaf, load_params
from mammo.storage.files import read_table
from studies.collapse.ladder.verdict import TruthParams

NUMBERS = ("bal_acc_adj", "kappa", "share")


class RolesParams(Params):
    """Section `roles`: which rows the claims are about."""

    optimisation: Annotated[list[str], Field(min_length=2, max_length=2)]
    full: Annotated[list[str], Field(min_length=1)]
    ungrouped: Annotated[list[str], Field(min_length=1)]
    prior: Annotated[list[str], Field(min_length=2, max_length=2)]
    unbalanced: str
    weights: str
    sampler: str
    double: str
    drifting: str


@dataclass(frozen=True)
class Ladder:
    """What the page needs of the params: each row's `what` and warm-up, roles, truth, sizes."""

    rows: dict[str, str]
    warmups: dict[str, int]
    patience: int
    roles: RolesParams
    truth: TruthParams
    seeds: int
    images: int
    held_out: int
    shares: dict[str, float]
    size_px: int


def load_ladder(study: Path, pipeline: Path) -> Ladder:
    """Load the ladder from the study's params file, the detector's patience from the root's."""
    rows = load_leaf("rows", dict[str, dict[str, Any]], study)
    return Ladder(
        rows={name: row["what"] for name, row in rows.items()},
        warmups={name: row["warmup_epochs"] for name, row in rows.items()},
        patience=load_leaf("collapse.patience", int, pipeline),
        roles=load_params("roles", RolesParams, study),
        truth=load_params("truth", TruthParams, study),
        seeds=load_leaf("seeds", int, study),
        images=load_leaf("phantom.images", int, study),
        held_out=load_leaf("held_out.images", int, study),
        shares=load_leaf("phantom.class_shares", dict[str, float], study),
        size_px=load_leaf("preprocess.size_px", int, study),
    )


def read_epochs(folder: Path, rows: Sequence[str]) -> pd.DataFrame:
    """Read the records of all runs, in the order of the ladder."""
    floats = {f"{split}_{name}": float for split in ("val", "test") for name in NUMBERS}
    kinds = dict.fromkeys(("seed", "epoch", "alarm"), int) | floats
    epochs = pd.concat(
        [read_table(folder / f"{name}.csv", **kinds) for name in rows], ignore_index=True
    )
    for column in ("drift_sd", "drift_var"):
        epochs[column] = pd.to_numeric(epochs[column])  # blank where nothing is frozen
    return epochs
