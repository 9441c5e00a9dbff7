"""The regularisation path of a head, from strong to weak penalty, and the step that is kept.

    path = solve_path(table, classes, params, objective)
    path.steps[i].penalty, .head                # .head.logits(features (n, F)) -> (n, K)
    path.steps[i].cross_fitted                  # (n, K) log-probabilities, or None
    path.chosen                                 # choose_step on what was cross-fitted, or None

The first step is close to the class shares, the last one overfits: the path is the training curve.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedGroupKFold

from mammo.errors import UserError
from mammo.heads.basis import emphasise, find_basis
from mammo.heads.choosing import choose_step
from mammo.heads.kernel import FourierFeatures, draw_fourier_features
from mammo.heads.multinomial import (
    MultinomialHead,
    MultinomialLikelihood,
    Objective,
    spread_over_classes,
)
from mammo.heads.ordinal import OrdinalHead, OrdinalLikelihood, ascending, fit_thresholds
from mammo.heads.params import HeadParams
from mammo.heads.solver import Solution, solve_problem

Linear = OrdinalHead | MultinomialHead


@dataclass(frozen=True)
class Table:
    """What a head is fitted on: the images of train.

    Attributes:
        features: (n, V, F) pooled features; view 0 is the clean one. An image's weight is split
            among its views.
        labels: (n,) positions among K classes.
        weights: (n,) of the images, such as n_class^-power; their sum doesn't matter.
        patients: (n,) whom the folds of a cross-fitting keep together.
        widths: How many features each block has, one after the other; none where all are of one
            kind.
    """

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    patients: np.ndarray
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Head:
    """A head on raw features: linear, or linear on random Fourier features of them."""

    kernel: FourierFeatures | None
    linear: Linear

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Compute logits, for an ordinal head log-probabilities: (n, F) -> (n, K)."""
        mapped = self.kernel.map(features) if self.kernel else features.astype(np.float64)
        return self.linear.logits(mapped)

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """Compute log-probabilities: (n, F) -> (n, K)."""
        log_p: np.ndarray = log_softmax(self.logits(features), axis=1)
        return log_p


@dataclass(frozen=True)
class PathStep:
    """One penalty.

    Attributes:
        penalty: Of the squared weights.
        head: Fitted on all images.
        cross_fitted: (n, K) log-probabilities of the clean views, by heads that saw no image of
            the patient; None where nothing was cross-fitted.
    """

    penalty: float
    head: Head
    cross_fitted: np.ndarray | None


@dataclass(frozen=True)
class Path:
    """The steps from strong to weak penalty, and the one that cross-fitting keeps, if it ran."""

    steps: list[PathStep]
    chosen: int | None


def solve_path(
    table: Table, classes: int, params: HeadParams, objective: Objective | None = None
) -> Path:
    """Solve the head for every penalty, and cross-fit it where the params ask for that.

    Features are standardised once, by all of train, also for the folds: what a fold is held out
    from is the labels, and a penalty means the same in each of them.

    Args:
        table: The images of train.
        classes: K.
        params: Section `head`.
        objective: Of a multinomial head; cross-entropy if None.

    Raises:
        UserError: The images are of one class: there is nothing to tell apart. Or they are too
            few to cross-fit.
        ValueError: A weight isn't above 0, or an objective is given for an ordinal head.
    """
    if (table.weights <= 0).any():
        raise ValueError("the weight of an image must be above 0")
    if params.model == "ordinal" and objective is not None:
        raise ValueError("an ordinal head has its own likelihood and takes no other objective")
    features = table.features.astype(np.float64)
    emphasis = emphasise(table.widths or features.shape[-1:], params.width_power)
    kernel = None
    if params.kernel == "rbf":
        kernel = draw_fourier_features(
            features[:, 0], params.rbf.features, params.rbf.scale, params.seed
        )
        features, emphasis = kernel.map(features), np.ones(params.rbf.features)
    _warn_of_absent_classes(table.labels, classes)
    problems = _Problems(
        table, features, emphasis, classes, params, objective or Objective(np.zeros(classes))
    )
    path = params.penalties
    penalties = np.geomspace(path.strongest, path.weakest, path.steps).tolist()
    steps = [
        PathStep(penalty, Head(kernel, linear), cross_fitted)
        for penalty, (linear, cross_fitted) in zip(
            penalties, problems.solve(penalties), strict=True
        )
    ]
    if params.select == "val":
        return Path(steps, None)
    answers = [step.cross_fitted for step in steps if step.cross_fitted is not None]
    return Path(steps, choose_step(table.labels, table.weights, answers, params.criterion))


def kept_step(path: Path) -> PathStep:
    """Take the step that cross-fitting keeps.

    Raises:
        ValueError: Nothing was cross-fitted.
    """
    if path.chosen is None:
        raise ValueError("no step is kept yet: head.select isn't cross_fit")
    return path.steps[path.chosen]


def assign_folds(labels: np.ndarray, patients: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Number the fold of each image, patients kept together: (n,) -> (n,).

    Raises:
        UserError: There are images of one patient alone, or not two of any class.
    """
    number = np.zeros(len(labels), dtype=np.int64)
    people, commonest = len(np.unique(patients)), int(np.bincount(labels).max())
    if min(people, commonest) < 2:
        raise UserError(
            "data/splits.csv: train must hold two patients and two images of one class, or no "
            f"head can be cross-fitted; got patients: {people}, images of the commonest class: "
            f"{commonest}; add patients, or see split.* params"
        )
    folds = min(folds, people, commonest)
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class of few patients is missing from some folds, and those leave it out.
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, held_out) in enumerate(split.split(labels, labels, patients)):
            number[held_out] = fold
    return number


def _warn_of_absent_classes(labels: np.ndarray, classes: int) -> None:
    present = np.unique(labels)
    if len(present) < 2:
        raise UserError(
            "data/splits.csv: train must hold two classes or more, got "
            f"{len(present)}; see split.* params"
        )
    absent = sorted(set(range(classes)) - set(present.tolist()))
    if absent:
        warnings.warn(
            f"train holds no image of class number {', '.join(map(str, absent))} (from 0): the "
            "head leaves it out and gives it probability 0",
            stacklevel=3,
        )


class _Problems:
    """All of train, and each fold's complement, as problems in the same coordinates."""

    def __init__(
        self,
        table: Table,
        features: np.ndarray,
        emphasis: np.ndarray,
        classes: int,
        params: HeadParams,
        objective: Objective,
    ):
        images, views, width = features.shape
        self.table, self.classes, self.params, self.objective = table, classes, params, objective
        self.image = np.repeat(np.arange(images), views)  # of each row
        self.row_weights = (table.weights / table.weights.sum() / views)[self.image]
        rows = features.reshape(-1, width)
        self.basis = find_basis(rows, self.row_weights, emphasis)
        self.coordinates = self.basis.coordinates(rows)  # (n V, R)
        self.clean = self.coordinates[::views]  # (n, R)
        self.folds = np.zeros(images, dtype=np.int64)
        if params.cross_fits:
            self.folds = assign_folds(table.labels, table.patients, params.folds, params.seed)
        self.seen = [np.ones(images, dtype=bool)]
        if params.cross_fits:
            self.seen += [self.folds != fold for fold in range(self.folds.max() + 1)]
        self.present = [np.unique(table.labels[seen]) for seen in self.seen]

    def solve(self, penalties: Sequence[float]) -> Iterator[tuple[Linear, np.ndarray | None]]:
        """Yield for each penalty the head of all images, and cross-fitted log-probabilities."""
        every = [
            self._solve(seen, present, penalties)
            for seen, present in zip(self.seen, self.present, strict=True)
        ]
        for solutions in zip(*every, strict=True):
            heads = [self._head(s, p) for s, p in zip(solutions, self.present, strict=True)]
            yield self._with_folds(heads[0], heads[1:])

    def _solve(
        self, seen: np.ndarray, present: np.ndarray, penalties: Sequence[float]
    ) -> list[Solution]:
        """Solve the problem of the images seen."""
        rows = seen[self.image]
        coordinates = self.coordinates if rows.all() else self.coordinates[rows]
        weights = self.row_weights[rows] / self.row_weights[rows].sum()
        ranks = rank_among(self.table.labels, present)[self.image[rows]]
        if self.params.model == "ordinal":
            return solve_problem(coordinates, OrdinalLikelihood(ranks, weights), penalties)
        objective = replace(self.objective, adjustment=self.objective.adjustment[present])
        convex = MultinomialLikelihood(ranks, weights, replace(objective, gamma=0.0))
        solutions = solve_problem(coordinates, convex, penalties)
        if objective.gamma:
            focal = MultinomialLikelihood(ranks, weights, objective)
            solutions = solve_problem(coordinates, focal, penalties, solutions)
        return solutions

    def _head(self, solution: Solution, present: np.ndarray) -> Linear:
        """Put a head on coordinates together."""
        if self.params.model == "ordinal":
            thresholds = ascending(solution.parameters)
            return OrdinalHead(solution.weight[:, 0], thresholds, present, self.classes)
        return spread_over_classes(solution.weight.T, solution.parameters, present, self.classes)

    def _with_folds(
        self, whole: Linear, parts: Sequence[Linear]
    ) -> tuple[Linear, np.ndarray | None]:
        """Refit thresholds where asked for, and gather what was cross-fitted."""
        if self.params.thresholds == "cross_fitted" and isinstance(whole, OrdinalHead):
            scores = self._held_out([self.clean @ part.weight for part in parts])
            ranks = rank_among(self.table.labels, whole.present)
            weights = self.table.weights / self.table.weights.sum()
            whole = replace(whole, thresholds=fit_thresholds(scores, ranks, weights))
            answers = replace(whole, weight=np.ones(1)).logits(scores[:, None])
        elif parts:
            answers = self._held_out([part.logits(self.clean) for part in parts])
        else:
            answers = None
        if answers is not None:
            answers = log_softmax(answers, axis=1)
        return whole.on_raw(self.basis), answers

    def _held_out(self, of_folds: Sequence[np.ndarray]) -> np.ndarray:
        """Take each image's entry from the fold that didn't see it: k of (n, ...) -> (n, ...)."""
        return np.stack(of_folds)[self.folds, np.arange(len(self.folds))]


def rank_among(labels: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Number labels among the classes present; absent ones get a neighbour's: (n,) -> (n,)."""
    return np.minimum(np.searchsorted(present, labels), len(present) - 1)
