"""The bundle: one folder from which new mammograms are answered, without any training data.

bundle/
  model.json            everything that isn't a number of the network; `format: 1`
  <strategy>.safetensors  a whole network, one file a member
  training-features.safetensors  what they look like as a whole; no strategy can have the name
  MODEL_CARD.md         for people
  WEIGHTS_LICENSE.md    under which terms the backbone's parameters came
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor, nn

from mammo.dicom.params import Limits
from mammo.errors import UserError
from mammo.evaluation.decision import Rule
from mammo.evaluation.model import Model, design_of
from mammo.evaluation.params import EvaluateParams
from mammo.evaluation.predictions import Answering
from mammo.ingest.params import IngestParams
from mammo.network.backbones import architecture_of
from mammo.network.head import make_head
from mammo.network.network import Network, block_widths
from mammo.network.params import BackboneParams, ComputeParams
from mammo.network.strategies import cut
from mammo.params import parse_params
from mammo.predict.conformal import Scores
from mammo.predict.familiarity import FeatureModel, Origin
from mammo.preprocess.params import PreprocessParams
from mammo.storage.digests import digest
from mammo.storage.files import write_bytes, write_json

FORMAT = 1
CONTENT = "content_sha256"  # an older bundle goes without
_ENTRIES = {  # of model.json, without which nothing can be answered
    "strategy", "classes", "class_set", "decision", "patient_rule", "temperature", "members",
    "files", "params", "origin", "familiarity", "conformal", "figures",
}  # fmt: skip
MODEL, FAMILIARITY, CARD, LICENCE = (
    "model.json", "training-features.safetensors", "MODEL_CARD.md", "WEIGHTS_LICENSE.md",
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        id: SHA-256 of model.json, which names the SHA-256 of every other file.
        members: The networks, whose probabilities are averaged.
        facts: model.json as it stands.
        familiarity: Of the first member's features.
    """

    id: str
    members: list[Model]
    facts: dict[str, Any]
    preprocess: PreprocessParams
    limits: Limits
    ingest: IngestParams
    evaluate: EvaluateParams
    compute: ComputeParams
    origin: Origin
    familiarity: FeatureModel

    @property
    def name(self) -> str:
        """The reported strategy, or `ensemble`."""
        return str(self.facts["strategy"])

    @property
    def classes(self) -> list[str]:
        """The class names, in order."""
        return list(self.facts["classes"])

    @property
    def rule(self) -> Rule:
        """How the answer follows from the probabilities."""
        rule: Rule = self.facts["decision"]
        return rule

    @property
    def temperature(self) -> float:
        """By which the logarithms of probabilities are divided to calibrate them."""
        return float(self.facts["temperature"])

    @property
    def scores(self) -> Scores:
        """The conformal scores."""
        scores: Scores = self.facts["conformal"]["scores"]
        return scores

    def answering(self, member: int) -> Answering:
        """How a member's probabilities come to assume the prior asked for."""
        return answering_of(self.members[member], self.evaluate)


def answering_of(model: Model, evaluate: EvaluateParams) -> Answering:
    """Say how a network's probabilities come to assume the prior asked for."""
    return Answering(evaluate.prior, model.facts["prior"], model.facts["counts"])


def save_network(network: Network, path: Path) -> str:
    """Write a whole network, blocks and head, as safetensors; return the file's SHA-256."""
    blocks = OrderedDict(network.prefix.blocks.named_children())
    blocks.update(network.suffix.blocks)
    state = nn.ModuleDict({"blocks": nn.ModuleDict(blocks), "head": network.suffix.head})
    tensors = {k: v.detach().cpu().contiguous() for k, v in sorted(state.state_dict().items())}
    content = safetensors.torch.save(tensors)
    write_bytes(content, path)
    return hashlib.sha256(content).hexdigest()


def load_network(path: Path, facts: dict[str, Any]) -> Network:
    """Rebuild a network, cut where it was, so that the arithmetic is that of `evaluate`.

    Raises:
        UserError: The file doesn't hold the network that its facts describe.
    """
    backbone = BackboneParams(arch=facts["arch"], weights="random", file=None, seed=0)
    architecture, design = architecture_of(backbone), design_of(facts)
    blocks = architecture.blocks(architecture.without_values())
    module = nn.ModuleDict({"blocks": nn.ModuleDict(blocks), "head": make_head(design.head)})
    try:
        module.load_state_dict(safetensors.torch.load_file(path), assign=True)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: doesn't hold the network of model.json: {error}") from None
    head = module["head"]
    prefix, suffix = cut(blocks, head, design.at, design.reads, architecture.normalisation)
    suffix.requires_grad_(False).eval()
    frozen = [name for name in list(blocks)[: design.at] if name in design.reads]
    side = design.grey + sum(block_widths(backbone)[name] for name in frozen)
    return Network(prefix, suffix, design.at, len(blocks), side, facts["backbone_sha256"])


def save_familiarity(model: FeatureModel, path: Path) -> str:
    """Write means, directions and variances; return the file's SHA-256."""
    arrays = {
        name: np.ascontiguousarray(getattr(model, name), dtype=np.float32)
        for name in ("directions", "mean", "variances")
    }
    content = safetensors.numpy.save(arrays)
    write_bytes(content, path)
    return hashlib.sha256(content).hexdigest()


def write_model(facts: dict[str, Any], folder: Path) -> None:
    """Write model.json, with a digest of its own content: no other file vouches for it."""
    write_json({"format": FORMAT, CONTENT: digest(facts), **facts}, folder / MODEL)


def read_bundle(folder: Path) -> Bundle:
    """Open a bundle and check every file in it.

    Raises:
        UserError: It isn't a bundle, is of another format, or a file was changed.
    """
    path = folder / MODEL
    if not path.is_file():
        raise UserError(
            f"{path}: not found; name a bundle's folder (`dvc repro bundle` makes one, "
            "`dvc pull bundle` fetches it)"
        )
    content = path.read_bytes()
    try:
        facts = json.loads(content)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        got = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
        raise UserError(
            f"{path}: format must be {FORMAT}, got {got!r}; use the version of this project that "
            "wrote it"
        )
    content_sha256 = digest({k: v for k, v in facts.items() if k not in ("format", CONTENT)})
    if facts.get(CONTENT, content_sha256) != content_sha256:
        raise UserError(
            f"{path}: was changed: {CONTENT} of what it holds must be {facts[CONTENT][:12]}…, got "
            f"{content_sha256[:12]}…; fetch the bundle again"
        )
    missing = sorted(_ENTRIES - facts.keys())
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; fetch the bundle again")
    for name, sha256 in facts["files"].items():
        _check_file(folder / name, sha256)
    members = [
        Model(load_network(folder / member["file"], member), member) for member in facts["members"]
    ]
    arrays = safetensors.numpy.load_file(folder / FAMILIARITY)
    sections = facts["params"]
    preprocess = {**sections["preprocess"], "scheduler": None}  # one of the machine that made it
    compute = dict(sections["compute"])
    if compute["accelerator"] in ("cuda", "mps"):  # this machine may have none, or the other
        compute["accelerator"] = "auto"
    return Bundle(
        id=hashlib.sha256(content).hexdigest(),
        members=members,
        facts=facts,
        preprocess=parse_params("params.preprocess", preprocess, PreprocessParams, path),
        limits=parse_params("params.dicom", sections["dicom"], Limits, path),
        ingest=parse_params("params.ingest", sections["ingest"], IngestParams, path),
        evaluate=parse_params("params.evaluate", sections["evaluate"], EvaluateParams, path),
        compute=parse_params("params.compute", compute, ComputeParams, path),
        origin=Origin.from_json(facts["origin"]),
        familiarity=FeatureModel(
            arrays["mean"].astype(np.float64),
            arrays["directions"].astype(np.float64),
            arrays["variances"].astype(np.float64),
            facts["familiarity"]["rest"],
            facts["familiarity"]["threshold"],
        ),
    )


def _check_file(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: the bundle lacks this file; fetch it again (`dvc pull bundle`)")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise UserError(
            f"{path}: SHA-256 must be {sha256[:12]}…, got {found[:12]}…; fetch the bundle again"
        )


def head_inputs(model: Model) -> "Recorder":
    """Record what a network's head reads while it predicts; use as a context manager."""
    return Recorder(model.network.suffix.head)


class Recorder:
    """Keeps the inputs of a module, in the order in which they come."""

    def __init__(self, module: nn.Module):
        self._module = module
        self._kept: list[Tensor] = []

    def __enter__(self) -> "Recorder":
        def keep(_: nn.Module, inputs: Sequence[Tensor]) -> None:
            self._kept.append(inputs[0].detach().float().cpu())

        self._hook = self._module.register_forward_pre_hook(keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def array(self, rows: int) -> np.ndarray:
        """Return the first `rows` inputs: (rows, F); of a flipped second pass nothing."""
        return torch.cat(self._kept)[:rows].numpy()
