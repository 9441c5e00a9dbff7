"""What needs no network: class shares, the histogram of grey values, grey and texture features.

A strategy that doesn't beat the better of the last two has learnt nothing beyond grey values.
Both are heads solved as those of the strategies are: the same model, loss and balancing, the
penalty cross-fitted by patient.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from mammo.embedding.grey import GREY_NAMES, grey_features
from mammo.errors import UserError
from mammo.evaluation.metrics import classification_metrics
from mammo.heads.path import Path, PathStep, kept_step
from mammo.storage.tensors import Tensors, gather_outlines

MAJORITY_CLASS = "majority_class"
INTENSITY_HISTOGRAM = "intensity_histogram"
GREY_FEATURES = "grey_features"
BASELINES = (MAJORITY_CLASS, INTENSITY_HISTOGRAM, GREY_FEATURES)

IMAGES_PER_READ = 64  # bounds the memory, whatever the size of the store

# (n, V, F) features, (n,) labels, (n,) patients -> the path of a linear head, cross-fitted
Solver = Callable[[np.ndarray, np.ndarray, np.ndarray], Path]


@dataclass(frozen=True)
class Baselines:
    """What pictures say without a network.

    Attributes:
        probabilities: (n, K) by baseline and split, in the order of the split's keys.
        cross_fitted: Quadratic kappa on train by baseline, of answers that didn't see the patient.
        better: The baseline with the larger one; the histogram of equals.
    """

    probabilities: dict[str, dict[str, np.ndarray]]
    cross_fitted: dict[str, float]
    better: str


def majority_class(train_labels: np.ndarray, n: int, n_classes: int) -> np.ndarray:
    """State the class shares of the training labels for each image: (n, K); equal rows.

    Raises:
        UserError: There is no training label.
    """
    if len(train_labels) == 0:
        raise UserError("data/splits.csv: train must hold an image, got none; see split.* params")
    shares = np.bincount(train_labels, minlength=n_classes) / len(train_labels)
    return np.tile(shares, (n, 1))


def intensity_histograms(tensors: Tensors, positions: np.ndarray, bins: int) -> np.ndarray:
    """Describe images by the shares of their grey values: (n, bins), each row's sum 1 or 0.

    Pixels of 0 are left out: they are background and padding, and their share is the size of the
    breast, not its density.

    Args:
        tensors: Images of (H, W), unsigned integers.
        positions: (n,) of the images in the store.
        bins: Of equal width from 1 to the largest value that the type holds.
    """
    levels = np.iinfo(tensors.dtype).max + 1
    bin_of = np.arange(levels, dtype=np.int64) * bins // levels  # (levels,)
    histograms = np.zeros((len(positions), bins))
    for start in range(0, len(positions), IMAGES_PER_READ):
        images = tensors.gather(positions[start : start + IMAGES_PER_READ])
        for row, image in enumerate(images, start=start):
            inside = bin_of[image[image > 0]]
            histograms[row] = np.bincount(inside, minlength=bins) / max(1, len(inside))
    return histograms


def grey_tables(tensors: Tensors, outlines: Tensors, positions: np.ndarray) -> np.ndarray:
    """Describe breasts by grey values, shape and texture: (n, 46).

    Args:
        tensors: Images of (H, W), unsigned integers.
        outlines: Of the same keys.
        positions: (n,) of the images in the store.
    """
    highest = np.iinfo(tensors.dtype).max
    table = np.zeros((len(positions), len(GREY_NAMES)))
    for start in range(0, len(positions), IMAGES_PER_READ):
        part = positions[start : start + IMAGES_PER_READ]
        images = tensors.gather(part).astype(np.float32) / highest
        pairs = zip(images, gather_outlines(outlines, part), strict=True)
        for row, (image, outline) in enumerate(pairs, start=start):
            table[row] = grey_features(image, outline)
    return table


def solve_baselines(
    tensors: Tensors,
    outlines: Tensors,
    keys: Mapping[str, Sequence[str]],
    labels: Mapping[str, np.ndarray],
    patients: Mapping[str, np.ndarray],
    n_classes: int,
    bins: int,
    solver: Solver,
    refit: bool,
) -> Baselines:
    """Fit the baselines on train, with `refit` for test on train and val.

    Args:
        tensors: Images of (H, W).
        outlines: The breasts' outlines, of the same keys.
        keys: Image keys by split (`train` and any other).
        labels: (n,) integers by split, in the order of its keys; those of test aren't used.
        patients: (n,) by split, likewise.
        n_classes: K.
        bins: Of the histogram.
        solver: Solves heads as those of the strategies are solved.
        refit: As `head.refit`.

    Raises:
        UserError: Train holds fewer than two classes.
    """
    fitted_on: dict[str, tuple[str, ...]] = {split: ("train",) for split in keys}
    if refit and {"val", "test"} <= set(keys):
        fitted_on["test"] = ("train", "val")

    def solve(described: Mapping[str, np.ndarray], splits: Sequence[str]) -> PathStep:
        features, truth, people = (
            np.concatenate([of[split] for split in splits]) for of in (described, labels, patients)
        )
        return kept_step(solver(features[:, None], truth, people))

    shares = {
        split: majority_class(
            np.concatenate([labels[of] for of in fitted_on[split]]), len(keys[split]), n_classes
        )
        for split in keys
    }
    probabilities, kappas = {MAJORITY_CLASS: shares}, {}
    for name in (INTENSITY_HISTOGRAM, GREY_FEATURES):
        described = {}
        for split in keys:
            positions = tensors.positions(keys[split])
            described[split] = (
                intensity_histograms(tensors, positions, bins)
                if name == INTENSITY_HISTOGRAM
                else grey_tables(tensors, outlines, positions)
            )
        steps = {of: solve(described, of) for of in sorted(set(fitted_on.values()))}
        probabilities[name] = {
            split: np.exp(steps[fitted_on[split]].head.log_probabilities(values))
            for split, values in described.items()
        }
        kappas[name] = _quadratic_kappa(labels["train"], steps[("train",)])
    better = max(kappas, key=lambda name: kappas[name])
    return Baselines(probabilities, kappas, better)


def _quadratic_kappa(labels: np.ndarray, step: PathStep) -> float:
    answers = np.exp(cast(np.ndarray, step.cross_fitted))
    names = [str(k) for k in range(answers.shape[1])]
    return float(classification_metrics(labels, answers, names)["kappa_quadratic"] or 0.0)
