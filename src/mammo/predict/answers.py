"""From stored images to answers, by the deployed path of `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammo.evaluation.decision import decide
from mammo.evaluation.inference import predict_cases
from mammo.evaluation.model import Model
from mammo.evaluation.params import EvaluateParams
from mammo.network.devices import Devices
from mammo.network.params import ComputeParams
from mammo.predict.bundle import Bundle, answering_of, head_inputs


@dataclass(frozen=True)
class Answers:
    """What a bundle says of n images.

    Attributes:
        probabilities: (n, K), at the bundle's prior.
        distances: (n,) of the features to those of the training images.
    """

    probabilities: np.ndarray
    distances: np.ndarray

    def decided(self, bundle: Bundle) -> list[str]:
        """Name the class of each answer."""
        return [bundle.classes[k] for k in decide(self.probabilities, bundle.rule)]


def answer(bundle: Bundle, tensors: Path, keys: Sequence[str], devices: Devices) -> Answers:
    """Answer stored images, in the order of `keys`.

    Args:
        bundle: Whose members answer; probabilities are the mean of theirs.
        tensors: The folder of the prepared images.
        keys: Which ones.
        devices: Device and processes.
    """
    probabilities, features = answer_with(
        bundle.members, tensors, keys, bundle.evaluate, bundle.compute, devices
    )
    return Answers(probabilities, bundle.familiarity.distance(features))


def answer_with(
    models: Sequence[Model],
    tensors: Path,
    keys: Sequence[str],
    evaluate: EvaluateParams,
    compute: ComputeParams,
    devices: Devices,
) -> tuple[np.ndarray, np.ndarray]:
    """Average the probabilities of networks: (n, K), and what the first one's head reads: (n, F).

    Args:
        models: The networks; each one's probabilities come to the prior first.
        tensors: The folder of the prepared images.
        keys: Which ones.
        evaluate: Prior, batch size and test-time flip.
        compute: Precision.
        devices: Device and processes.
    """
    every = []
    features = np.zeros((0, 0))
    for number, model in enumerate(models):
        with head_inputs(model) as read:
            raw = predict_cases(model, tensors, keys, evaluate, compute, devices)
        every.append(answering_of(model, evaluate).assume(raw))
        if number == 0:
            features = read.array(len(keys))
    return np.mean(every, axis=0), features
