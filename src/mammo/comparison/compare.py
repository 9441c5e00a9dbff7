"""Compare strategies on the test split: intervals, paired differences and tests.

The result, as plain values, is what `metrics/compare.json` holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mammo.cohort.classes import DENSE
from mammo.comparison.arms import Arm, check_arms
from mammo.comparison.baselines import MAJORITY_CLASS
from mammo.comparison.bootstrap import resample_patients
from mammo.comparison.groups import measured_groups
from mammo.comparison.measuring import Setting, draw, measured, thin_classes
from mammo.comparison.pairs import adjusted, asked, compare_pair
from mammo.comparison.params import CompareParams
from mammo.comparison.results import Comparison, Measured, Sample
from mammo.errors import UserError
from mammo.evaluation.levels import PatientRule, aggregate, settle_patient_rule
from mammo.evaluation.metrics import Draws, classification_metrics


def compare(
    strategies: Mapping[str, Arm],
    baselines: Mapping[str, Arm],
    params: CompareParams,
    patient_rule: PatientRule = "denser",
    *,
    tempered: bool = True,
    reference: str | None = None,
    truth: pd.DataFrame | None = None,
    groups: pd.DataFrame | None = None,
) -> Comparison:
    """Compare arms that judged the same images; floats of 9 significant digits.

    Args:
        strategies: By name.
        baselines: By name.
        params: Draws, level, tests.
        patient_rule: Whose probabilities a patient gets where breasts or images are labelled.
        tempered: Whether a temperature is fitted on val; without it val isn't needed.
        reference: The better baseline, where it isn't to be chosen on val.
        truth: `key, true_class` of the phantom's images, for the ceiling.
        groups: `key` and a column for each way to group the images, beside view and laterality.

    Raises:
        UserError: Tables disagree on their images, or a split is empty, or test has one patient,
            or `tested_metrics` names something that isn't measured.
    """
    arms = {**strategies, **baselines}
    setting = _settle(arms, params, patient_rule, ("val", "test") if tempered else ("test",))
    drawn = {name: draw(arm, setting, tempered) for name, arm in arms.items()}
    first = next(iter(drawn.values()))
    check_tested(params.tested_metrics, first.draws["image"])
    reference = reference or choose_reference(baselines, setting.classes)
    pairs, tests = adjusted(
        [
            compare_pair(a, b, family, drawn[a], drawn[b], setting)
            for a, b, family in asked(list(strategies), list(baselines), reference)
        ]
    )
    ceiling = None if truth is None else _ceiling(first.arm, truth, setting)
    classes = setting.classes
    return Comparison(
        sample=Sample(
            split="test",
            classes=classes,
            dense_classes=DENSE[classes],
            thin_classes={label: n for label, n in setting.thin.items() if label in classes},
            images=len(first.units["image"].labels),
            breasts=len(first.units["breast"].labels),
            patients=len(setting.patients),
            patient_rule=setting.patient_rule,
            reference=reference,
            draws=params.draws,
            confidence=params.confidence,
            tested_metrics=tuple(params.tested_metrics),
            false_discovery_rate=params.false_discovery_rate,
            tests=tests,
        ),
        strategies={name: measured(drawn[name], setting) for name in strategies},
        baselines={name: measured(drawn[name], setting) for name in baselines},
        ceiling=ceiling,
        pairs=tuple(pairs),
        groups=tuple(measured_groups({name: drawn[name] for name in strategies}, groups, setting)),
    )


def choose_reference(baselines: Mapping[str, Arm], classes: tuple[str, ...]) -> str | None:
    """Choose the better baseline by quadratic kappa on val; None where only the majority is.

    Where there is no val (pooled folds), the images that are judged choose, which favours it.
    """
    scores = {}
    for name, arm in baselines.items():
        if name == MAJORITY_CLASS:
            continue
        table = arm.of_split("val")
        table = arm.of_split("test") if table.empty else table
        units = aggregate(table, "image", classes, sorted(table["patient"].unique()))
        found = classification_metrics(units.labels, units.probabilities, classes, arm.rule)
        scores[name] = float(found["kappa_quadratic"] or 0)
    return max(scores, key=lambda name: scores[name]) if scores else None


def _settle(
    arms: Mapping[str, Arm],
    params: CompareParams,
    patient_rule: PatientRule,
    splits: Sequence[str],
) -> Setting:
    """Check the arms and settle what they are measured by."""
    classes = check_arms({name: arm.predictions for name, arm in arms.items()}, splits)
    first = next(iter(arms.values()))
    test = first.of_split("test")
    patients = sorted(test["patient"].unique())
    if len(patients) < 2:
        raise UserError("data/splits.csv: test must hold at least 2 patients, got 1")
    return Setting(
        classes=classes,
        patients=patients,
        weights=resample_patients(len(patients), params.draws, params.seed),
        params=params,
        patient_rule=settle_patient_rule(first.predictions, patient_rule),
        thin=thin_classes(test, classes),
    )


def _ceiling(arm: Arm, truth: pd.DataFrame, setting: Setting) -> Measured:
    """Measure an observer who knows the true dense share and answers its class."""
    test = arm.of_split("test")
    known = test["key"].map(truth.set_index("key")["true_class"])
    if known.isna().any():
        raise UserError(
            f"data/phantom_truth.csv: must hold every test image, got none for "
            f"{int(known.isna().sum())}; run `dvc repro`"
        )
    columns = [f"probability_{label}" for label in setting.classes]
    certain = test.copy()
    for label, column in zip(setting.classes, columns, strict=True):
        certain[column] = (known == label).astype(float)
    drawn = draw(Arm(certain), setting, tempered=False)
    return replace(measured(drawn, setting), calibration=None)


def check_tested(tested: Iterable[str], drawn: Draws) -> None:
    """Check that the metrics to be tested are among those measured.

    Args:
        tested: Their names.
        drawn: Draws by metric, those of the sample first.

    Raises:
        UserError: One isn't measured, or the sample leaves it undefined.
    """
    for metric in tested:
        if metric not in drawn or np.isnan(drawn[metric][0]):
            known = ", ".join(name for name, draws in drawn.items() if not np.isnan(draws[0]))
            raise UserError(
                f"params.yaml: compare.tested_metrics: must be among {known}, got {metric!r}"
            )
