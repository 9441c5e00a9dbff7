"""Say whether a set of predictions has collapsed, and by which sign."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mammo.evaluation.metrics import Metrics
from mammo.evaluation.params import CollapseParams

Status = Literal["healthy", "warning", "collapsed"]


@dataclass(frozen=True)
class Assessment:
    """The status of one set of predictions, and the reasons for it in words."""

    status: Status
    reasons: list[str]


def assess(
    metrics: Metrics, classes: Sequence[str], params: CollapseParams, at_end: bool = False
) -> Assessment:
    """Judge metrics by the thresholds.

    Collapsed: one class takes nearly all predictions where it has not nearly all images, or kappa
    is low together with a class of at least `min_support` images that is never recalled. The
    second sign comes early, and most networks that show it recover or are poor in another way: at
    the end it counts only where most predictions are of one class, too.
    Warning: any single bad sign.

    Args:
        metrics: As `classification_metrics` returns them.
        classes: The class names.
        params: The thresholds.
        at_end: The training is over, so more kappa is expected, and what only looked like the
            beginning of a collapse is none.
    """
    kappa = float(metrics["kappa"] or 0)
    bal_acc_adj = float(metrics["bal_acc_adj"] or 0)
    missed = [c for c in classes if metrics[f"n_{c}"] and metrics[f"recall_{c}"] == 0]
    supported = [c for c in missed if int(metrics[f"n_{c}"] or 0) >= params.min_support]
    images = sum(int(metrics[f"n_{c}"] or 0) for c in classes)
    predicted = {c: float(metrics[f"predicted_share_{c}"] or 0) for c in classes}
    true = {c: int(metrics[f"n_{c}"] or 0) / images for c in classes}
    favourite = max(classes, key=lambda c: predicted[c])
    share = f"{predicted[favourite]:.0%} of the predictions are {favourite}"

    collapsed, least_share = [], params.standing_share if at_end else 0.0
    if predicted[favourite] >= params.collapsed_share and true[favourite] < params.natural_share:
        collapsed.append(share)
    if kappa < params.collapsed_kappa and supported and predicted[favourite] >= least_share:
        collapsed.append(f"kappa {kappa:.2f} and never a correct {' or '.join(supported)}")
    if collapsed:
        return Assessment("collapsed", collapsed)

    least_kappa = params.warning_kappa_at_end if at_end else params.warning_kappa
    warnings = []
    if kappa < least_kappa:
        warnings.append(f"kappa {kappa:.2f} is below {least_kappa:g}")
    if bal_acc_adj < params.warning_bal_acc_adj:
        warnings.append(f"bal_acc_adj {bal_acc_adj:.2f} is below {params.warning_bal_acc_adj:g}")
    if missed:
        warnings.append(f"never a correct {' or '.join(missed)}")
    if predicted[favourite] - true[favourite] > params.warning_excess:
        warnings.append(f"{share}, and {true[favourite]:.0%} of the images")
    return Assessment("warning" if warnings else "healthy", warnings)
