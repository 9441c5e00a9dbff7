"""From stored images to answers, by the deployed path of `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from mammo.evaluation.decision import decide
from mammo.evaluation.inference import predict_cases
from mammo.predict.bundle import Bundle, head_inputs


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


def answer(bundle: Bundle, tensors: Path, keys: Sequence[str], fabric: Fabric) -> Answers:
    """Answer stored images, in the order of `keys`.

    Args:
        bundle: Whose members answer; probabilities are the mean of theirs.
        tensors: The folder of the prepared images.
        keys: Which ones.
        fabric: Device and processes.
    """
    every = []
    features = np.zeros((0, 0))
    for number, model in enumerate(bundle.members):
        with head_inputs(model) as read:
            raw = predict_cases(model, tensors, keys, bundle.evaluate, bundle.compute, fabric)
        every.append(bundle.answering(number).assume(raw))
        if number == 0:
            features = read.array(len(keys))
    return Answers(np.mean(every, axis=0), bundle.familiarity.distance(features))
