"""Answers of heads on patients that they haven't seen: solved on stored features, fold by fold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo import paths
from mammo.cohort.classes import CLASSES, ClassSet
from mammo.embedding.features import Features, open_features
from mammo.evaluation.model import Model
from mammo.evaluation.params import Prior
from mammo.evaluation.predictions import Answering
from mammo.heads.params import HeadParams
from mammo.heads.path import kept_step
from mammo.params import load_leaf, load_params
from mammo.training.params import BalancingParams, LossParams
from mammo.training.problem import Solving


def load_solving() -> Solving:
    """Load the sections of params.yaml by which heads are solved."""
    return Solving(
        classes=list(CLASSES[load_leaf("dataset.classes", ClassSet)]),
        head=load_params("head", HeadParams),
        balancing=load_params("balancing", BalancingParams),
        loss=load_params("loss", LossParams),
    )


@dataclass(frozen=True)
class Stored:
    """What the pipeline has stored of the networks that answer.

    Attributes:
        embeddings: Each network's folder of features.
        tensors: The folder of the images.
    """

    embeddings: Sequence[Path]
    tensors: Path


def stored_of(models: Sequence[Model]) -> Stored:
    """Find what is stored of some networks, by their strategies."""
    folders = [paths.EMBEDDINGS / str(model.facts["strategy"]) for model in models]
    return Stored(folders, paths.TENSORS)


def is_frozen(model: Model) -> bool:
    """Say whether the head alone was trained: what it reads is stored."""
    return model.network.cut == model.network.blocks


def features_read(model: Model, embeddings: Path) -> Features:
    """Open the stored features that a network's head reads."""
    return open_features(embeddings, model.facts["reads"], bool(model.facts["grey"]))


@dataclass(frozen=True)
class CrossFitted:
    """Probabilities of images by heads that saw nobody of their patients.

    Attributes:
        keys: Of the images.
        labels: (n,) positions among the classes.
        patients: (n,).
        probabilities: (n, K).
    """

    keys: list[str]
    labels: np.ndarray
    patients: np.ndarray
    probabilities: np.ndarray


def cross_fit_all(
    models: Sequence[Model], solving: Solving, stored: Stored, cases: pd.DataFrame, prior: Prior
) -> CrossFitted:
    """Cross-fit the head of each network, and average the probabilities as its answers are.

    Args:
        models: The networks, which say what their heads read.
        solving: How heads are solved.
        stored: The networks' features.
        cases: Columns key, patient, label; of the images to use.
        prior: That the probabilities shall assume.
    """
    every = [
        cross_fit(solving, features_read(model, embeddings), cases, prior)
        for model, embeddings in zip(models, stored.embeddings, strict=True)
    ]
    mean = np.mean([fitted.probabilities for fitted in every], axis=0)
    return replace(every[0], probabilities=mean)


def cross_fit(
    solving: Solving, features: Features, cases: pd.DataFrame, prior: Prior = "as_trained"
) -> CrossFitted:
    """Solve a strategy's head on stored features, fold by fold of patients.

    The head is solved whatever the strategy trains: it costs seconds, and a label that it doubts
    is as doubtful.

    Args:
        solving: How; the balancing applies.
        features: What the head reads.
        cases: Columns key, patient, label; of the images to use.
        prior: That the probabilities shall assume; `as_trained` leaves that of the balancing.
    """
    number = {label: k for k, label in enumerate(solving.classes)}
    labels = cases["label"].map(number).to_numpy(dtype=np.int64)
    patients = cases["patient"].to_numpy()
    views = features.views(features.pooled.positions(list(cases["key"])))
    head = solving.head.model_copy(update={"select": "cross_fit"})
    numbers = pd.factorize(patients)[0]
    path = replace(solving, head=head).path(views, labels, numbers, features.widths)
    answers = kept_step(path).cross_fitted
    assert answers is not None  # with `cross_fit` every step has them
    probabilities = np.exp(answers)
    balance = solving.balance(labels)
    own = Answering(prior, [float(s) for s in balance.prior], [int(n) for n in balance.counts])
    return CrossFitted(list(cases["key"]), labels, patients, own.assume(probabilities))
