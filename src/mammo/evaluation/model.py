"""A trained model as it is deployed: the backbone's parameters and a suffix file, put together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammo import paths
from mammo.errors import UserError
from mammo.evaluation.predictions import Judged
from mammo.evaluation.suffix_file import check_backbone, load_suffix
from mammo.network.head import HeadShape
from mammo.network.network import Design, Network, build_network
from mammo.network.params import BackboneParams


@dataclass(frozen=True)
class Model:
    """A network with its trained suffix, and the facts that were stored with it.

    Attributes:
        network: Ready to predict.
        facts: strategy, arch, cut, reads, grey, head, classes, counts and prior of the training,
            fitted_on (the splits), epoch, trainable_parameters, …
    """

    network: Network
    facts: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        """The class names."""
        return list(self.facts["classes"])


def load_model(path: Path, weights: Path, backbone: BackboneParams) -> Model:
    """Load a suffix onto the backbone that it belongs to.

    Args:
        path: A file in models/S/.
        weights: The file that stage `weights` wrote.
        backbone: The architecture.

    Raises:
        UserError: A file is missing or damaged, or they don't belong together.
    """
    state, facts = load_suffix(path)
    if facts["arch"] != backbone.arch:
        raise UserError(
            f"{path}: is of backbone.arch {facts['arch']}, params.yaml says {backbone.arch}; "
            "run `dvc repro`"
        )
    network = build_network(weights, backbone, design_of(facts))
    check_backbone(facts, network.backbone_sha256, path)
    try:
        network.suffix.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path}: doesn't hold the suffix that it describes: {error}") from None
    return Model(network, facts)


def load_by_split(folder: Path, weights: Path, backbone: BackboneParams) -> dict[Judged, Model]:
    """Load whom to ask for each split: a network that hasn't seen its labels.

    That is the deployed one; for val another, where the deployed one was fitted on val too.

    Args:
        folder: models/S.
        weights: The file that stage `weights` wrote.
        backbone: The architecture.

    Raises:
        UserError: A file is missing or damaged, or they don't belong together.
    """
    deployed = load_model(folder / paths.BEST_MODEL, weights, backbone)
    if "val" not in deployed.facts["fitted_on"]:
        return {"val": deployed, "test": deployed}
    return {
        "val": load_model(folder / paths.TRAIN_ONLY_MODEL, weights, backbone),
        "test": deployed,
    }


def design_of(facts: dict[str, Any]) -> Design:
    """Read a network's design from the facts of its suffix."""
    head = HeadShape.of_values(facts["head"])
    return Design(facts["cut"], tuple(facts["reads"]), facts["grey"], head)
