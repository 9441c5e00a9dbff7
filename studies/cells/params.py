"""What each study asks for, checked against the pipeline's parameters."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mammo.errors import UserError
from mammo.params import Params, load_params, parse_params, read_params
from studies.cells.arms import ARMS, load_arms, overridden

STUDIES = Path("studies")
REAL_HOME = STUDIES / "real_mammograms" / "data" / "home"
Names = Annotated[list[str], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0)]


class CrossValidationParams(Params):
    """Section `cross_validation` of the study's params.yaml.

    Attributes:
        reference: The arm that the others are held against.
        trained: Strategies whose blocks train, in the first split alone.
        ensembles: The arms whose probabilities are averaged, by name.
        folds: All of `split.folds`.
        splits: Seeds of the split into folds.
    """

    reference: str
    trained: list[str]
    ensembles: dict[str, Annotated[list[str], Field(min_length=2)]]
    folds: Annotated[list[Seed], Field(min_length=1)]
    splits: Annotated[list[Seed], Field(min_length=1)]


class ImagesParams(Params):
    """Section `images`: as dataset.root and dataset.table, relative to the repository's root."""

    root: Path
    table: Path


class RealParams(CrossValidationParams):
    """All of real_mammograms' params.yaml: a cross-validation of other images.

    Attributes:
        images: Where they are.
        set: What is set otherwise than in params.yaml, `key=value` each.
    """

    images: ImagesParams
    set: list[str]


class SeedsParams(Params):
    """Section `seeds`: values of `train.seed`; what varies needs two."""

    strategies: Names
    seeds: Annotated[list[Seed], Field(min_length=2)]


class ArchitecturesParams(Params):
    """Section `architectures`: each network with what is set for it, `key=value` each."""

    strategies: Names
    networks: Annotated[dict[str, list[str]], Field(min_length=1)]


def load_cross_validation(study: str) -> CrossValidationParams:
    """Load what `cross_validation` or `real_mammograms` asks for.

    Raises:
        UserError: A key is missing, unknown or out of range; the message names it.
    """
    path = study_params(study)
    if study == "cross_validation":
        return load_params(study, CrossValidationParams, path)
    values = read_params(path)
    folds = values.pop("cross_validation", {})
    return parse_params("params", {**folds, **values}, RealParams, path)


def study_params(study: str) -> Path:
    """Name a study's own parameter file."""
    return STUDIES / study / "params.yaml"


def home_of(study: str) -> Path:
    """Name the folder above the data/ whose images a cross-validation is about."""
    return REAL_HOME if study == "real_mammograms" else Path()


def study_values(values: dict[str, Any], params: CrossValidationParams) -> dict[str, Any]:
    """Return params.yaml as a cross-validation has it: with its own images, if it names any."""
    if not isinstance(params, RealParams):
        return values
    images = [
        f"dataset.root={params.images.root.resolve()}",
        f"dataset.table={params.images.table.resolve()}",
    ]
    where = str(study_params("real_mammograms"))
    return overridden(values, [*params.set, *images], where)


def check_study(study: str, values: dict[str, Any]) -> None:
    """Refuse a study that the pipeline's parameters can't carry out.

    Args:
        study: The name of its folder.
        values: All of params.yaml.

    Raises:
        UserError: The study's params.yaml is faulty, or names what params.yaml lacks.
    """
    CHECKS[study](values, study_params(study))


def _check_real(values: dict[str, Any], path: Path) -> None:
    params = load_cross_validation("real_mammograms")
    assert isinstance(params, RealParams)
    for key, given in (("root", params.images.root), ("table", params.images.table)):
        if not given.exists():
            raise UserError(
                f"{path}: images.{key}: must be there, got {given} (from {Path.cwd()}); "
                "studies/real_mammograms/README.md says what is needed"
            )
    changed = overridden(values, params.set, f"{path}: set")
    _check_folds(params, changed, path)


def _check_cross_validation(values: dict[str, Any], path: Path) -> None:
    _check_folds(load_cross_validation("cross_validation"), values, path)


def _check_folds(params: CrossValidationParams, values: dict[str, Any], path: Path) -> None:
    split = values["split"]
    _check_strategies(params.trained, values, f"{path}: cross_validation.trained")
    for name, arm in load_arms().items():
        _check_strategies([arm.strategy], values, f"{ARMS}: arms.{name}.strategy")
        overridden(values, arm.set, f"{ARMS}: arms.{name}.set")
    _check_unique(params.splits, f"{path}: cross_validation.splits")
    members = [params.reference, *(m for arm in params.ensembles.values() for m in arm)]
    for name in members:
        if name not in (*load_arms(), *params.trained):
            raise UserError(f"{path}: cross_validation: there is no arm {name!r} in {ARMS}")
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


def _check_seeds(values: dict[str, Any], path: Path) -> None:
    params = load_params("seeds", SeedsParams, path)
    _check_strategies(params.strategies, values, f"{path}: seeds.strategies")
    _check_unique(params.seeds, f"{path}: seeds.seeds")


def _check_architectures(values: dict[str, Any], path: Path) -> None:
    params = load_params("architectures", ArchitecturesParams, path)
    _check_strategies(params.strategies, values, f"{path}: architectures.strategies")
    for name, changes in params.networks.items():
        where = f"{path}: architectures.networks.{name}"
        backbone = overridden(values, changes, where)["backbone"]
        if backbone["weights"] == "file" and len(params.networks) > 1:
            raise UserError(
                f"{where}: must set backbone.weights, since the file of params.yaml fits one "
                "architecture; got file"
            )


CHECKS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "cross_validation": _check_cross_validation,
    "real_mammograms": _check_real,
    "seeds": _check_seeds,
    "architectures": _check_architectures,
}


def _check_strategies(names: Sequence[str], values: dict[str, Any], key: str) -> None:
    _check_unique(names, key)
    for name in names:
        if name not in values["strategies"]:
            known = ", ".join(values["strategies"])
            raise UserError(f"{key}: must be among those of params.yaml ({known}), got {name!r}")


def _check_unique(values: Sequence[Any], key: str) -> None:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise UserError(f"{key}: each must stand there once, got {', '.join(twice)} again")
