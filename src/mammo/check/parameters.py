"""Check the whole of params.yaml before anything runs, each section by its own module's model."""

from typing import Any

from mammo.check.agreement import check_agreement
from mammo.cohort.params import SplitParams
from mammo.comparison.params import CompareParams
from mammo.datasets.params import DatasetParams
from mammo.dicom.params import Limits
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.errors import UserError
from mammo.evaluation.params import CollapseParams, EnsembleParams, EvaluateParams
from mammo.heads.params import HeadParams
from mammo.ingest.params import IngestParams
from mammo.network.params import BackboneParams, ComputeParams, StrategyParams
from mammo.pages.params import ReviewParams, SheetParams
from mammo.params import Params, parse_params
from mammo.phantom.params import PhantomParams
from mammo.predict.params import BundleParams
from mammo.preprocess.params import PreprocessParams
from mammo.renamed import renamed_keys
from mammo.training.params import BalancingParams, LossParams, TrainParams

SECTIONS: dict[str, type[Params]] = {
    "dataset": DatasetParams,
    "phantom": PhantomParams,
    "ingest": IngestParams,
    "dicom": Limits,
    "preprocess": PreprocessParams,
    "sheet": SheetParams,
    "split": SplitParams,
    "backbone": BackboneParams,
    "augment": AugmentParams,
    "embed": EmbedParams,
    "train": TrainParams,
    "balancing": BalancingParams,
    "loss": LossParams,
    "head": HeadParams,
    "collapse": CollapseParams,
    "evaluate": EvaluateParams,
    "compare": CompareParams,
    "ensemble": EnsembleParams,
    "bundle": BundleParams,
    "review": ReviewParams,
    "compute": ComputeParams,
}

_MAX_SEED = 2**32 - 1  # NumPy's legacy generator, which scikit-learn seeds, takes no more

# The other arms of the comparison: a stage's, and those without a network.
RESERVED = ("ensemble", "majority_class", "intensity_histogram", "grey_features")


def check_params(values: dict[str, Any]) -> None:
    """Refuse what is wrong anywhere in params.yaml.

    Raises:
        UserError: Lists every fault found, one a line.
    """
    old = dict(renamed_keys(values))
    faults = [f"params.yaml: {key}: {advice}" for key, advice in old.items()]
    faults += [
        fault
        for faults_at_once in (*_faults_of_sections(values), *_faults_of_strategies(values))
        for fault in faults_at_once.splitlines()
        if not any(fault.startswith((f"params.yaml: {k}:", f"params.yaml: {k}.")) for k in old)
    ]
    if faults:
        raise UserError("\n".join(faults))
    check_agreement(values)


def _faults_of_sections(values: dict[str, Any]) -> list[str]:
    faults: list[str] = []
    sections = (*SECTIONS, "strategies", "strategy")
    for key in values:
        if key not in sections:
            faults.append(f"params.yaml: {key}: unknown section; there are {', '.join(sections)}")
    for key in sections:
        if key not in values:
            faults.append(f"params.yaml: {key}: missing")
    for section, model in SECTIONS.items():
        if section in values:
            _collect(faults, section, values[section], model)
            seed = values[section].get("seed") if isinstance(values[section], dict) else None
            if isinstance(seed, int) and seed > _MAX_SEED:
                faults.append(
                    f"params.yaml: {section}.seed: must be at most {_MAX_SEED}, got {seed}"
                )
    return faults


def _faults_of_strategies(values: dict[str, Any]) -> list[str]:
    faults: list[str] = []
    strategies = values.get("strategies")
    if not isinstance(strategies, dict) or not strategies:
        faults.append("params.yaml: strategies: must be a mapping with at least one strategy")
        strategies = {}
    for name, strategy in strategies.items():
        if not isinstance(name, str):  # DVC, whose YAML is newer, calls the stages train@no
            faults.append(
                f"params.yaml: strategies.{name}: must be text, got {name!r}, as YAML reads a bare "
                "no, yes, on, off, null or number; take another name"
            )
        elif not name.isidentifier() or name in RESERVED:
            faults.append(
                f"params.yaml: strategies.{name}: must be a plain word (letters, digits, "
                f"underscores) and none of {', '.join(RESERVED)}"
            )
        else:
            _collect(faults, f"strategies.{name}", strategy, StrategyParams)
    chosen = values.get("strategy")
    members = _members(values)
    for member in members:
        if member not in list(strategies):  # a list or a mapping can't be looked up
            faults.append(
                f"params.yaml: ensemble.strategies: must be among {', '.join(map(str, strategies))}"
                f", got {member!r}"
            )
    choices = [*map(str, strategies), *(["ensemble"] if members else [])]
    if "strategy" in values and choices and chosen not in choices:
        known = ", ".join(choices)
        faults.append(f"params.yaml: strategy: must be one of {known}, got {chosen!r}")
    return faults


def _members(values: dict[str, Any]) -> list[Any]:
    """List the strategies of the ensemble; its own model judges the rest."""
    section = values.get("ensemble")
    found = section.get("strategies") if isinstance(section, dict) else None
    return found if isinstance(found, list) else []


def _collect(faults: list[str], section: str, values: Any, model: type[Params]) -> None:
    try:
        parse_params(section, values, model)
    except UserError as error:
        faults.append(str(error))
