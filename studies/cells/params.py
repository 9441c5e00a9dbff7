"""What a study asks for, checked, and the folds of a cross-validation."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from mammo import paths
from mammo.cohort.params import SplitParams
from mammo.cohort.splits import assign_patients, describe_splits
from mammo.errors import UserError
from mammo.params import Params, load_params
from mammo.storage.files import read_table

Architecture = Literal["resnet50", "efficientnet_b0", "mobilenet_v2"]
# The architecture of params.yaml. Named so in the outputs of studies/architectures, since with its
# real name they would be those of two stages where `others` holds it too, and DVC would refuse
# every command before the check could say why.
OWN = "own"
Names = Annotated[list[str], Field(min_length=1)]


class CrossValidationParams(Params):
    """Section `cross_validation` of the study's params.yaml."""

    strategies: Names
    folds: Annotated[list[int], Field(min_length=1)]


class SeedsParams(Params):
    """Section `seeds`: values of `train.seed`; what varies needs two."""

    strategies: Names
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2)]


class ArchitecturesParams(Params):
    """Section `architectures`: others than that of params.yaml, which takes part anyway."""

    strategies: Names
    others: Annotated[list[Architecture], Field(min_length=1)]

    def runs(self, own: str) -> dict[str, tuple[str, str]]:
        """Name the folder of each run, with its architecture and strategy; `own` comes first."""
        folders: dict[str, str] = {OWN: own, **{arch: arch for arch in self.others}}
        return {
            f"{folder}-{name}": (arch, name)
            for folder, arch in folders.items()
            for name in self.strategies
        }


def study_params(study: str) -> Path:
    """Name a study's own parameter file."""
    return paths.STUDIES / study / "params.yaml"


def check_study(study: str, values: dict[str, Any]) -> None:
    """Refuse a study that the pipeline's parameters can't carry out.

    Args:
        study: The name of its folder.
        values: All of params.yaml.

    Raises:
        UserError: The study's params.yaml is faulty, or names what params.yaml lacks.
    """
    path = study_params(study)
    if study == "cross_validation":
        folds = load_params(study, CrossValidationParams, path)
        names = folds.strategies
        _check_folds(folds, values["split"], path)
    elif study == "seeds":
        seeds = load_params(study, SeedsParams, path)
        names = seeds.strategies
        _check_unique(seeds.seeds, f"{path}: seeds.seeds")
    else:
        architectures = load_params(study, ArchitecturesParams, path)
        names = architectures.strategies
        _check_architectures(architectures, values["backbone"], path)
    _check_unique(names, f"{path}: {study}.strategies")
    for name in names:
        if name not in values["strategies"]:
            known = ", ".join(values["strategies"])
            raise UserError(
                f"{path}: {study}.strategies: must be among those of params.yaml ({known}), got "
                f"{name!r}"
            )


def _check_folds(params: CrossValidationParams, split: dict[str, Any], path: Path) -> None:
    if split["source"] != "grouped":
        raise UserError(
            "params.yaml: split.source: must be grouped for cross-validation, got "
            f"{split['source']!r}; a published split has no folds"
        )
    if sorted(params.folds) != list(range(split["folds"])):
        raise UserError(
            f"{path}: cross_validation.folds: must be all of 0 to {split['folds'] - 1} "
            f"(params.yaml: split.folds), or some patients would never be judged; got "
            f"{params.folds}"
        )


def _check_architectures(params: ArchitecturesParams, backbone: dict[str, Any], path: Path) -> None:
    if backbone["arch"] in params.others:
        raise UserError(
            f"{path}: architectures.others: must not hold that of params.yaml, which takes part "
            f"anyway; got {backbone['arch']}"
        )
    _check_unique(params.others, f"{path}: architectures.others")
    if backbone["weights"] == "file":
        raise UserError(
            "params.yaml: backbone.weights: must not be file for this study, since a file fits one "
            "architecture; choose another source"
        )


def _check_unique(values: list[Any], key: str) -> None:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise UserError(f"{key}: each must stand there once, got {', '.join(twice)} again")


def split_images() -> pd.DataFrame:
    """Read the images that preprocessing accepted: the columns of `prediction_table`, unsplit."""
    accepted = read_table(paths.TENSOR_INDEX)["key"]
    images = read_table(paths.IMAGES).merge(read_table(paths.LABELS), on="key")
    return images[images["key"].isin(accepted)]


def fold_cases(
    images: pd.DataFrame, params: SplitParams, fold: int, classes: list[str]
) -> pd.DataFrame:
    """Split with one fold for test and the next for val.

    Raises:
        UserError: A class is missing somewhere and `split.missing_class` is `error`.
    """
    values = {**params.model_dump(), "test_fold": fold, "val_fold": None}
    params = SplitParams.model_validate(values)
    splits = assign_patients(images, params)
    describe_splits(images, splits, classes, params)
    return images.merge(splits, on="key")
