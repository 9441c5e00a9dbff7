"""Put one training together from what earlier stages stored, and run it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from lightning_fabric import Fabric

from mammo.cohort.cases import Fold, make_fold
from mammo.embedding.sources import Source, open_source
from mammo.network.compute import compile_module
from mammo.network.network import Network, build_network
from mammo.training.history import Row
from mammo.training.loop import Outcome, Run, train
from mammo.training.progress import Progress
from mammo.training.retraining import retrain_head
from mammo.training.settings import Settings
from mammo.training.watch import Setting, risks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """What a training starts from.

    Attributes:
        backbone: The file of the backbone's parameters.
        embeddings: The strategy's folder of activations.
        tensors: The folder of the images.
    """

    backbone: Path
    embeddings: Path
    tensors: Path


@dataclass(frozen=True)
class Trial:
    """One training, ready to run."""

    settings: Settings
    network: Network
    fold: Fold
    source: Source
    fabric: Fabric

    @property
    def setting(self) -> Setting:
        """What bears on collapse."""
        return self.settings.describe(self.fold, self.network.blocks)


def prepare(settings: Settings, stored: Stored, table: pd.DataFrame, fabric: Fabric) -> Trial:
    """Build the network and open its data.

    Args:
        settings: Of the strategy.
        stored: Where the inputs are.
        table: Columns key, label, split.
        fabric: Device, precision and processes.
    """
    network = build_network(
        stored.backbone, settings.backbone, settings.cut, settings.classes,
        settings.train.dropout, settings.train.seed, settings.loss.ordinal, settings.train.scope,
    )  # fmt: skip
    compile_module(network.suffix, settings.compute, fabric.device)
    keys, source = open_source(
        stored.embeddings, stored.tensors, network, settings.augment, settings.compute,
        fabric.device,
    )  # fmt: skip
    return Trial(settings, network, make_fold(keys, table, settings.classes), source, fabric)


def run_trial(
    trial: Trial, record: Callable[[Row], None], progress: Progress | None = None
) -> Outcome:
    """Train, and re-train the head where that is asked for; risks and alerts are logged.

    Args:
        trial: What to train.
        record: Called with each finished row of the history.
        progress: Where an interrupted run finds its state; None to keep none.

    Raises:
        CollapseError: The model has collapsed and `collapse.action` is `fail`.
    """
    settings = trial.settings
    for risk in risks(trial.setting):
        logger.warning("risk: %s", risk)
    run = Run(
        trial.setting, settings.train, settings.collapse, trial.fold, trial.source,
        trial.network.suffix, trial.fabric, record, progress,
    )  # fmt: skip
    outcome = train(run)
    if settings.train.retrain_head_epochs:
        outcome = retrain_head(run, outcome)
    for alert in outcome.alerts:
        logger.warning("COLLAPSE: %s", alert)
    return outcome
