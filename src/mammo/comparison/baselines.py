"""What needs no network: the class shares of the training split, and grey values alone.

A strategy that doesn't beat both has learnt nothing about tissue that a histogram doesn't know.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mammo.comparison.params import HistogramParams
from mammo.errors import UserError
from mammo.storage.tensors import Tensors

MAJORITY_CLASS = "majority_class"
INTENSITY_HISTOGRAM = "intensity_histogram"
BASELINES = (MAJORITY_CLASS, INTENSITY_HISTOGRAM)

IMAGES_PER_READ = 64  # bounds the memory, whatever the size of the store
MOST_ITERATIONS = 5000


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


def fit_histogram_classifier(
    train: np.ndarray,
    train_labels: np.ndarray,
    val: np.ndarray,
    val_labels: np.ndarray,
    params: HistogramParams,
) -> Pipeline:
    """Fit a multinomial logistic regression, classes weighted inversely to their frequency.

    The penalty is the one with the best balanced accuracy on validation, the strongest of equals.

    Args:
        train: (n, bins) histograms.
        train_labels: (n,) integers, two classes or more.
        val: (m, bins) histograms.
        val_labels: (m,) integers.
        params: Penalties to choose from.

    Raises:
        UserError: Training labels hold one class only: there is nothing to tell apart.
    """
    if len(np.unique(train_labels)) < 2:
        raise UserError(
            "data/splits.csv: train must hold two classes or more for the histogram baseline, got "
            f"{len(np.unique(train_labels))}; see split.* params"
        )
    fitted = [_fit(train, train_labels, c) for c in sorted(params.inverse_penalties)]
    scores = [_balanced_accuracy(model, val, val_labels) for model in fitted]
    return fitted[int(np.argmax(scores))]


def predict_probabilities(model: Pipeline, histograms: np.ndarray, n_classes: int) -> np.ndarray:
    """Predict (n, K); a class that training lacked gets 0."""
    probabilities = np.zeros((len(histograms), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(histograms)
    return probabilities


def predict_from_histograms(
    tensors: Tensors,
    keys: Mapping[str, Sequence[str]],
    labels: Mapping[str, np.ndarray],
    n_classes: int,
    params: HistogramParams,
) -> dict[str, np.ndarray]:
    """Fit on train, choose the penalty on val and predict every split.

    Args:
        tensors: Images of (H, W).
        keys: Image keys by split (`train`, `val`, `test`).
        labels: (n,) integers by split, in the order of its keys; those of test aren't used.
        n_classes: K.
        params: Bins and penalties.

    Returns:
        (n, K) probabilities by split, in the order of its keys.
    """
    histograms = {
        split: intensity_histograms(tensors, tensors.positions(keys[split]), params.bins)
        for split in keys
    }
    model = fit_histogram_classifier(
        histograms["train"], labels["train"], histograms["val"], labels["val"], params
    )
    return {s: predict_probabilities(model, histograms[s], n_classes) for s in histograms}


def _fit(histograms: np.ndarray, labels: np.ndarray, inverse_penalty: float) -> Pipeline:
    model = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=MOST_ITERATIONS),
    )
    with warnings.catch_warnings():
        # A fit cut short would be a weak baseline, and the networks would look good beside it.
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return model.fit(histograms, labels)
        except ConvergenceWarning:
            raise UserError(
                "params.yaml: compare.histogram.inverse_penalties: the fit must end within "
                f"{MOST_ITERATIONS} iterations, got no end for {inverse_penalty:g}; leave it out"
            ) from None


def _balanced_accuracy(model: Pipeline, histograms: np.ndarray, labels: np.ndarray) -> float:
    with warnings.catch_warnings():
        # Validation may lack a class that was learnt; its score is the mean over those it holds.
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        return float(balanced_accuracy_score(labels, model.predict(histograms)))
