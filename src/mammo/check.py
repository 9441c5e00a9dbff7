"""Check the whole of params.yaml before anything runs, each section by its own module's model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mammo import paths
from mammo.cohort.classes import CLASSES
from mammo.cohort.params import SplitParams
from mammo.comparison.params import CompareParams
from mammo.datasets.folders import shown, survey
from mammo.datasets.params import DatasetParams
from mammo.dicom.params import Limits
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.errors import UserError
from mammo.evaluation.params import CollapseParams, EnsembleParams, EvaluateParams
from mammo.heads.params import HeadParams
from mammo.ingest.keys import PUBLIC, read_dataset_key
from mammo.ingest.params import IngestParams
from mammo.network.params import (
    FIXED_SIZE_PX,
    BackboneParams,
    ComputeParams,
    StrategyParams,
    blocks_read,
    strategy_cut,
)
from mammo.pages.params import ReviewParams, SheetParams
from mammo.params import Params, parse_params
from mammo.phantom.params import PhantomParams
from mammo.predict.params import BundleParams
from mammo.preprocess.params import PreprocessParams
from mammo.renamed import renamed_keys
from mammo.storage.digests import short_digest
from mammo.storage.files import whole_folder, write_json
from mammo.training.params import BalancingParams, LossParams, TrainParams, remedies

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

# What shapes a strategy's answers, besides its own keys.
_SHAPING = (
    "dataset", "phantom", "ingest", "dicom", "preprocess", "split", "backbone", "augment", "embed",
    "head", "train", "balancing", "loss", "collapse", "compute", "evaluate",
)  # fmt: skip

_MAX_SEED = 2**32 - 1  # NumPy's legacy generator, which scikit-learn seeds, takes no more

_START_BYTES = 64  # of a weights file, enough to tell text

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
    balancing = BalancingParams.model_validate(values["balancing"])
    _check_weights(balancing, CLASSES[values["dataset"]["classes"]])
    _check_balance(
        balancing,
        LossParams.model_validate(values["loss"]),
        TrainParams.model_validate(values["train"]),
    )
    backbone = BackboneParams.model_validate(values["backbone"])
    _check_size(backbone, PreprocessParams.model_validate(values["preprocess"]))
    head = HeadParams.model_validate(values["head"])
    loss = LossParams.model_validate(values["loss"])
    for name, entry in values["strategies"].items():
        strategy = StrategyParams.model_validate(entry)
        strategy_cut(backbone, strategy, name)
        blocks_read(backbone.arch, strategy.features, f"strategies.{name}")
        _check_head(name, strategy, head, loss)


def note_parameters(values: dict[str, Any], folder: Path) -> None:
    """Note under which name each strategy's metrics are found: S.json, `parameters` in each.

    It is a digest of all that shapes the answers, so that figures of other parameters show.

    Args:
        values: Of a sound params.yaml.
        folder: It is replaced.
    """
    shared = [values[section] for section in _SHAPING]
    with whole_folder(folder) as partial:
        for name, strategy in values["strategies"].items():
            write_json({"parameters": short_digest([strategy, *shared])}, partial / f"{name}.json")


def check_inputs(values: dict[str, Any]) -> dict[str, Path | None]:
    """Refuse files and folders that later stages would miss, or wait for without end.

    Args:
        values: Of a sound params.yaml.

    Returns:
        The files that stages read and DVC doesn't hash, by the key that names each.

    Raises:
        UserError: Lists every fault found, one a line.
    """
    dataset = DatasetParams.model_validate(values["dataset"])
    backbone = BackboneParams.model_validate(values["backbone"])
    root, table = Path(dataset.root), Path(dataset.table)
    faults: list[str] = []
    if root.resolve() != paths.PHANTOM.resolve():  # the phantom is drawn later
        if not root.is_dir():
            faults.append(f"params.yaml: dataset.root: no such folder, got {str(root)!r}")
        if not table.exists():
            faults.append(f"params.yaml: dataset.table: no such file, got {str(table)!r}")
        faults += _untrackable(root)
    if not Path(dataset.corrections).is_file():
        faults.append(
            f"params.yaml: dataset.corrections: no such file, got {dataset.corrections!r}; for no "
            "correction it holds the line key,old,new,who,when alone"
        )
    try:
        read_dataset_key(dataset.key_file, root)
    except UserError as error:
        faults.append(str(error))
    if backbone.file is not None and not backbone.file.is_file():
        faults.append(f"params.yaml: backbone.file: no such file, got {str(backbone.file)!r}")
    elif backbone.file is not None and backbone.file.suffix in (".pth", ".pt"):
        faults += _text_for_tensors(backbone.file)
    if faults:
        raise UserError("\n".join(faults))
    secret = dataset.key_file not in (None, PUBLIC)
    return {
        "dataset.key_file": Path(str(dataset.key_file)) if secret else None,
        "backbone.file": backbone.file,
    }


def _untrackable(root: Path) -> Iterator[str]:
    """Name what DVC can't hash: a FIFO is waited for without end, other names end in a traceback.

    Raises nothing: folders that can't be read are for ingest's policy to judge.
    """
    found = survey(root)
    for path, kind in found.special.items():
        yield f"{root / path}: is {kind}, and nothing can read it to its end: remove it"
    for path in found.not_utf8:
        yield (
            f"{root}/{shown(path)}: the name isn't UTF-8, which DVC can't track: rename the file, "
            f"for instance with `convmv -f latin1 -t utf8 --notest -r {root}`"
        )


def _text_for_tensors(path: Path) -> Iterator[str]:
    """Name a file of text: the unpickler takes some for a damaged file, others for a program."""
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    if start.isascii() and b"\0" not in start:  # a zip has a NUL by then, a pickle begins with 0x80
        line = start.decode().partition("\n")[0]
        yield (
            f"{path}: backbone.file must be what torch.save writes, got text that begins with "
            f"{line!r}; download the file anew: a Git LFS pointer or a web page is in its place"
        )


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


def _check_head(name: str, strategy: StrategyParams, head: HeadParams, loss: LossParams) -> None:
    """Refuse a head and a loss that don't fit each other."""
    if loss.name == "corn":
        if strategy.head == "solved":
            raise UserError(
                f"params.yaml: strategies.{name}.head: must be gradient with loss.name: corn, "
                "which brings a head of its own that isn't solved; or set loss.name: cross_entropy"
            )
    elif head.model == "ordinal" and (loss.name != "cross_entropy" or loss.label_smoothing):
        wrong = f"loss.name: {loss.name}" if loss.name != "cross_entropy" else "label smoothing"
        raise UserError(
            f"params.yaml: head.model: must be multinomial with {wrong}: an ordinal head has a "
            "likelihood of its own; or set loss.name: cross_entropy and loss.label_smoothing: 0"
        )
    if head.kernel != "none" and strategy.head == "gradient":
        raise UserError(
            f"params.yaml: strategies.{name}.head: must be solved with head.kernel: {head.kernel}, "
            "whose length scale is the training images'; or set head.kernel: none"
        )


def _check_size(backbone: BackboneParams, preprocess: PreprocessParams) -> None:
    """Refuse images of a size that the architecture doesn't take."""
    fixed = FIXED_SIZE_PX.get(backbone.arch)
    if fixed and preprocess.size_px != fixed:
        raise UserError(
            f"params.yaml: preprocess.size_px: must be {fixed} with backbone.arch: "
            f"{backbone.arch}, got {preprocess.size_px}"
        )


def _members(values: dict[str, Any]) -> list[Any]:
    """List the strategies of the ensemble; its own model judges the rest."""
    section = values.get("ensemble")
    found = section.get("strategies") if isinstance(section, dict) else None
    return found if isinstance(found, list) else []


def _check_weights(balancing: BalancingParams, classes: Sequence[str]) -> None:
    """Refuse given weights that aren't one a class, before anything is decoded."""
    given = balancing.class_weights
    if isinstance(given, list) and len(given) != len(classes):
        raise UserError(
            f"params.yaml: balancing.class_weights: must be one weight for each of the "
            f"{len(classes)} classes of dataset.classes ({', '.join(classes)}), got {len(given)}"
        )


def _check_balance(balancing: BalancingParams, loss: LossParams, train: TrainParams) -> None:
    """Refuse two remedies for imbalance of different sections: together they overshoot.

    An adjusted loss makes up for the class frequencies of natural sampling. Where the sampler has
    levelled them it favours the rare classes once more, and so do weights. The same goes for the
    head that is re-trained on balanced sampling.
    """
    acting = remedies(balancing, loss)
    in_loss = {name: switch for name, switch in acting.items() if name != "sampler"}
    if train.retrain_head_epochs and in_loss and not balancing.allow_double:
        other, switch = next(iter(in_loss.items()))
        raise UserError(
            "params.yaml: train.retrain_head_epochs: balances the sampling for the head, and the "
            f"{other} would count rare classes there twice: double balancing; set {switch} or "
            "train.retrain_head_epochs: 0, or balancing.allow_double: true"
        )
    if loss.adjusts and len(acting) > 1 and not balancing.allow_double:
        other, switch = next(iter(acting.items()))
        raise UserError(
            f"params.yaml: loss.name: {loss.name} makes up for class frequencies that "
            f"the {other} has made up for already: double balancing; set {switch} or "
            "loss.name: cross_entropy, or balancing.allow_double: true"
        )


def _collect(faults: list[str], section: str, values: Any, model: type[Params]) -> None:
    try:
        parse_params(section, values, model)
    except UserError as error:
        faults.append(str(error))
