"""What a row of the ladder is, and who trains, validates and is tested in a run of it."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from mammo.cohort.params import SplitParams
from mammo.cohort.splits import assign_patients
from mammo.embedding.params import AugmentParams
from mammo.errors import UserError
from mammo.evaluation.params import CollapseParams
from mammo.heads.params import HeadParams
from mammo.network.params import BackboneParams, ComputeParams, StrategyParams
from mammo.params import Params, load_leaf, load_params, parse_params
from mammo.training.params import BalancingParams, LossParams, TrainParams
from mammo.training.settings import Recipe
from studies.cells.arms import overridden

CLASSES = ["A", "B", "C", "D"]


class BenchParams(Params):
    """What a row does that the pipeline can't, or not otherwise."""

    grouped: bool
    augmented: bool
    prefix_in_train_mode: bool


class RowParams(Params):
    """A row with all its settings: section `recipe`, with what the row changes."""

    strategy: StrategyParams
    head: HeadParams
    train: TrainParams
    balancing: BalancingParams
    loss: LossParams
    bench: BenchParams

    @model_validator(mode="after")
    def _drifts(self) -> "RowParams":
        blocks = self.strategy.unfreeze_last_blocks
        if self.bench.prefix_in_train_mode and (self.strategy.train_backbone or not blocks):
            raise ValueError("bench.prefix_in_train_mode needs frozen blocks and trained ones")
        return self


class StepParams(Params):
    """One entry of `rows`: the row that it follows, and the one thing that it changes."""

    what: str
    after: str | None
    set: list[str]


class LadderSplitParams(Params):
    """Section `split`."""

    seed: Annotated[int, Field(ge=0)]
    folds: Annotated[int, Field(ge=3)]


@dataclass(frozen=True)
class Sections:
    """The study's params file, and the root's sections `backbone` and `collapse`, the detector."""

    steps: dict[str, StepParams]
    recipe: dict[str, Any]
    seeds: int
    split: LadderSplitParams
    augment: AugmentParams
    compute: ComputeParams
    backbone: BackboneParams
    collapse: CollapseParams

    def settings(self, name: str, seed: int = 0) -> dict[str, Any]:
        """Spell out a row: section `recipe` with the changes of all rows that lead to it.

        Raises:
            UserError: There is no such row, it follows one that doesn't stand before it, or it
                changes a key that isn't there.
        """
        if name not in self.steps:
            raise UserError(f"rows: there is no {name}; there are {', '.join(self.steps)}")
        names = list(self.steps)
        step = self.steps[name]
        if step.after is None:
            values = copy.deepcopy(self.recipe)
        elif step.after in names[: names.index(name)]:
            values = self.settings(step.after)
        else:
            raise UserError(f"rows.{name}.after: must be a row before it, got {step.after}")
        values["train"] |= {"seed": seed}
        return overridden(values, step.set, f"rows.{name}.set")

    def row(self, name: str, seed: int = 0) -> RowParams:
        """Load a row with all its settings."""
        return parse_params(f"rows.{name}", self.settings(name, seed), RowParams)

    def recipe_of(self, name: str, seed: int) -> Recipe:
        """Put the pipeline's recipe of a run together."""
        row = self.row(name, seed)
        augment = self.augment.model_copy(update={"seed": seed})
        return Recipe(
            name, CLASSES, row.strategy, self.backbone, row.head, row.train, row.balancing,
            row.loss, self.collapse, augment, self.compute,
        )  # fmt: skip


def load_sections(study: Path, pipeline: Path) -> Sections:
    """Load all that a run depends on.

    Raises:
        UserError: A key is missing, unknown or out of range; the message names it.
    """
    steps = load_leaf("rows", dict[str, dict[str, Any]], study)
    # An alarm must not end a run: what comes after it is what the alarm is judged by.
    collapse = load_params("collapse", CollapseParams, pipeline)
    return Sections(
        steps={k: parse_params(f"rows.{k}", v, StepParams, study) for k, v in steps.items()},
        recipe=load_leaf("recipe", dict[str, Any], study),
        seeds=load_leaf("seeds", int, study),
        split=load_params("split", LadderSplitParams, study),
        augment=load_params("augment", AugmentParams, study),
        compute=load_params("compute", ComputeParams, study),
        backbone=load_params("backbone", BackboneParams, pipeline),
        collapse=collapse.model_copy(update={"action": "warn"}),
    )


def draw_cases(
    images: pd.DataFrame, grouped: bool, seed: int, params: LadderSplitParams
) -> pd.DataFrame:
    """Draw what trains and what validates; who is tested never changes.

    Args:
        images: Columns key, patient, label.
        grouped: Val is a fold of whole patients, stratified; else as many images, whoever's.
        seed: Of the run.
        params: The half that is test, the number of folds.

    Returns:
        `images` with a column split.
    """
    tested = _held_out(images, 4, params.seed, ("test", "val"))
    learning = images[~images["key"].isin(tested)]
    held = _held_out(learning, params.folds, seed, ("test",))
    if not grouped:
        keys = np.random.default_rng([seed, 2]).permutation(sorted(learning["key"]))
        held = set(keys[: len(held)])
    split = np.where(images["key"].isin(held), "val", "train")
    return images.assign(split=np.where(images["key"].isin(tested), "test", split))


def _held_out(images: pd.DataFrame, folds: int, seed: int, names: tuple[str, ...]) -> set[str]:
    """Take the first folds of whole patients: `test`, and `val` after it."""
    params = SplitParams(
        source="grouped", folds=folds, test_fold=0, val_fold=1, seed=seed, missing_class="error"
    )
    splits = assign_patients(images, params)
    return set(splits.loc[splits["split"].isin(names), "key"])
