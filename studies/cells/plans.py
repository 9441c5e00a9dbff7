"""Which trainings a cell of each study consists of."""

from pathlib import Path
from typing import Any

from mammo import paths
from mammo.params import load_params
from studies.cells.arms import ArmParams, load_arms, overridden
from studies.cells.cells import Plan
from studies.cells.params import (
    ArchitecturesParams,
    CrossValidationParams,
    SeedsParams,
    home_of,
    load_cross_validation,
    study_params,
    study_values,
)

TABLES = (paths.TENSORS, paths.IMAGES, paths.LABELS)


def plan_cell(study: str, name: str, values: dict[str, Any]) -> dict[str, Plan]:
    """List the trainings of one cell, by the name of the run.

    Args:
        study: The study's folder.
        name: The cell: `ARM` or `STRATEGY-FOLD` of a cross-validation, `STRATEGY-SEED` of seeds, a
            network of architectures.
        values: All of params.yaml.
    """
    path = study_params(study)
    if study in ("cross_validation", "real_mammograms"):
        params = load_cross_validation(study)
        return cross_validation_plans(name, study_values(values, params), params, home_of(study))
    if study == "seeds":
        load_params(study, SeedsParams, path)
        strategy, seed = name.rsplit("-", 1)
        changed = overridden(values, [f"train.seed={seed}"], str(path))
        inputs = _inputs(*TABLES, paths.SPLITS, paths.WEIGHTS, paths.EMBEDDINGS / strategy)
        return {seed: Plan(strategy, changed, inputs, ())}
    architectures = load_params(study, ArchitecturesParams, path)
    changed = overridden(values, architectures.networks[name], str(path))
    inputs = _inputs(*TABLES, paths.SPLITS)
    return {
        strategy: Plan(strategy, changed, inputs, ("weights", f"embed {strategy}"))
        for strategy in architectures.strategies
    }


def cross_validation_plans(
    name: str, values: dict[str, Any], params: CrossValidationParams, home: Path
) -> dict[str, Plan]:
    """List the trainings of an arm in all folds of all splits, or of a strategy in one fold.

    Args:
        name: `ARM`, or `STRATEGY-FOLD` (of the first split).
        values: All of params.yaml.
        params: The folds and splits.
        home: The folder above data/ with tensors, weights, embeddings and tables.

    Returns:
        The plans by `SPLIT-FOLD`.
    """
    arms = load_arms()
    if name in arms:
        arm, splits, folds = arms[name], params.splits, params.folds
    else:
        strategy, held_out = name.rsplit("-", 1)
        arm = ArmParams(strategy=strategy, set=[])
        splits, folds = params.splits[:1], [int(held_out)]
    own = any(change.startswith("backbone.") for change in arm.set)
    # The scratch store is one for all workspaces: the first fold embeds, the others find it there.
    stored = () if own else (paths.WEIGHTS, paths.EMBEDDINGS / arm.strategy)
    inputs = _inputs(*TABLES, *stored, home=home)
    stages = ("split", "weights", f"embed {arm.strategy}") if own else ("split",)
    plans = {}
    for split in splits:
        for fold in folds:
            drawn = [f"split.seed={split}", f"split.test_fold={fold}", "split.val_fold=null"]
            changed = overridden(values, [*arm.set, *drawn], f"arms.{name}.set")
            plans[f"{split}-{fold}"] = Plan(arm.strategy, changed, inputs, stages)
    return plans


def _inputs(*files: Path, home: Path = Path()) -> dict[Path, Path]:
    return {file: home / file for file in files}
