"""Which step of a path is kept, by the answers of its heads to images that they didn't see.

choose_step(labels, weights, [log_probabilities of each step], params.criterion) -> i
"""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mammo.evaluation.metrics import classification_metrics
from mammo.heads.ordinal import ABSENT
from mammo.heads.params import Criterion

_LOG_INVERSE_TEMPERATURES = (-2.0, 3.0)
_ORDER = ("bal_acc_adj", "kappa", "auc_macro")  # the order of the best checkpoint


def choose_step(
    labels: np.ndarray, weights: np.ndarray, answers: Sequence[np.ndarray], criterion: Criterion
) -> int:
    """Choose the step with the best answers, the strongest penalty of equals.

    `log_loss` also judges how sure the answers are, and so likes penalties that never dare to
    name a rare class; `calibrated_log_loss` is what is left of it once a temperature has set the
    sureness right; `kappa_quadratic`, a mean over a step and its neighbours, and `metrics`, the
    order of the best checkpoint, judge the classes named.

    Args:
        labels: (n,).
        weights: (n,) of the images in a log-loss: those of the fit, or the prior differs.
        answers: (n, K) log-probabilities of each step, from strong to weak penalty.
        criterion: Of labels of one class, log_loss stands for any.
    """
    if criterion != "log_loss" and len(np.unique(labels)) < 2:
        warnings.warn(
            f"the labels that choose a penalty are of one class: {criterion} tells nothing of "
            "them, the log-loss decides",
            stacklevel=2,
        )
        criterion = "log_loss"
    if criterion == "log_loss":
        losses = [_log_loss(labels, weights, answer) for answer in answers]
        return int(np.argmin(losses))
    if criterion == "calibrated_log_loss":
        losses = [_calibrated_log_loss(labels, weights, answer) for answer in answers]
        return int(np.argmin(losses))
    names = [str(k) for k in range(answers[0].shape[1])]
    metrics = [classification_metrics(labels, np.exp(answer), names) for answer in answers]
    if criterion == "kappa_quadratic":
        kappas = np.array([float(m["kappa_quadratic"] or 0) for m in metrics])
        # one step that stands out from its neighbours is luck
        smooth = np.convolve(np.pad(kappas, 1, mode="edge"), np.ones(3) / 3, mode="valid")
        return int(np.argmax(smooth.round(9)))
    scores = [tuple(m[name] or 0.0 for name in _ORDER) for m in metrics]
    return scores.index(max(scores))


def _log_loss(labels: np.ndarray, weights: np.ndarray, answers: np.ndarray) -> float:
    """Add up the images' log-losses.

    A class that training lacked costs the same in every step.
    """
    return float(-weights @ answers[np.arange(len(labels)), labels])


def _calibrated_log_loss(labels: np.ndarray, weights: np.ndarray, answers: np.ndarray) -> float:
    """Find the log-loss at the best temperature, without images of classes that training lacked."""
    known = answers[np.arange(len(labels)), labels] > ABSENT / 2
    labels, weights, answers = labels[known], weights[known], answers[known]

    def loss(log_inverse: float) -> float:
        return _log_loss(labels, weights, log_softmax(answers * np.exp(log_inverse), axis=1))

    return float(minimize_scalar(loss, bounds=_LOG_INVERSE_TEMPERATURES, method="bounded").fun)
