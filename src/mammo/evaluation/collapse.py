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

    Collapsed: one class takes nearly all predictions, or kappa is low together with a class of
    at least `min_support` images that is never recalled. Warning: any single bad sign.

    Args:
        metrics: As `classification_metrics` returns them.
        classes: The class names.
        params: The thresholds.
        at_end: The training is over, so more kappa is expected.
    """
    share = float(metrics["max_predicted_share"] or 0)
    kappa = float(metrics["kappa"] or 0)
    bal_acc_adj = float(metrics["bal_acc_adj"] or 0)
    missed = [c for c in classes if metrics[f"n_{c}"] and metrics[f"recall_{c}"] == 0]
    supported = [c for c in missed if int(metrics[f"n_{c}"] or 0) >= params.min_support]
    favourite = max(classes, key=lambda c: float(metrics[f"predicted_share_{c}"] or 0))

    collapsed = []
    if share >= params.collapsed_share:
        collapsed.append(f"{share:.0%} of the predictions are {favourite}")
    if kappa < params.collapsed_kappa and supported:
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
    if share >= params.warning_share:
        warnings.append(f"{share:.0%} of the predictions are {favourite}")
    return Assessment("warning" if warnings else "healthy", warnings)
