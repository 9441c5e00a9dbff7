"""The page of a cross-validation, written from the data: no number is typed by hand."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mammo.comparison.params import CompareParams
from mammo.comparison.wording import count, number, percent, thin_classes
from studies.cells.arms import ArmParams
from studies.cells.params import CrossValidationParams
from studies.cross_validation.baselines import PooledBaselines
from studies.cross_validation.verdicts import moved, standing, what_differs
from studies.pages.results import Repeats
from studies.pages.wording import (
    WORDS,
    Facts,
    arms_table,
    bullets,
    by_run,
    how_many,
    spread,
)

PRIMARY = "kappa_quadratic"


@dataclass(frozen=True)
class Evidence:
    """All that the page is written from.

    Attributes:
        subject: What the images are, in words.
        result: The comparison of all arms.
        params: The study's.
        compare: Section `compare` of params.yaml.
        arms: What is set in each arm.
        baselines: What they answered, and which is the better.
        facts: Of each training, by arm and by `SPLIT-FOLD`.
        cases: Columns patient, label of every image.
        refit: Whether heads that are solved alone learn from val too (`head.refit`).
        ceiling: What an observer of the phantom's true dense shares reaches; None for others.
    """

    subject: str
    result: Repeats
    params: CrossValidationParams
    compare: CompareParams
    arms: Mapping[str, ArmParams]
    baselines: PooledBaselines
    facts: Facts
    cases: pd.DataFrame
    refit: bool
    ceiling: dict[str, float] | None


def cross_validation_page(found: Evidence) -> str:
    """Write the page."""
    sections = [
        _opening(found),
        "## In short\n\n" + bullets(_summary(found)),
        "![Every arm's interval](forest.png)",
        "## The recipe, one thing changed at a time\n\nMeans over "
        f"{count(len(found.params.splits), 'split')} into folds, with intervals over patients and "
        "splits.\n\n" + arms_table(found.result, list(found.arms), _settings(found)),
        _trained(found),
        _ensembles(found),
        _baselines(found),
        what_differs(
            found.result,
            found.params.reference,
            found.baselines.better,
            found.compare.false_discovery_rate,
        ),
        _spread(found),
        "## Limits\n\n" + bullets(_limits(found)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(found: Evidence) -> str:
    cases, folds = found.cases, len(found.params.folds)
    labels = sorted(cases["label"].unique())
    images = ", ".join(f"{c} {int((cases['label'] == c).sum())}" for c in labels)
    patients = cases.groupby("label")["patient"].nunique()
    rarest = str(patients.idxmin())
    return (
        f"# Cross-validation: {found.subject}\n\n"
        f"{count(found.result.images, 'image')} of {count(found.result.patients, 'patient')} "
        f"({images}), {folds} folds of whole patients. Every image is judged once a split, by a "
        "network that neither trained on its patient nor had a step or epoch chosen on it. A "
        "metric is computed once on all these answers together, not averaged over folds: class "
        f"{rarest} comes from {count(int(patients.min()), 'patient')}. Brackets are "
        f"{percent(found.compare.confidence)} intervals from {found.compare.draws:,} bootstrap "
        f"draws of whole patients and of splits.{thin_classes(found.result.thin_classes)}"
    )


def _summary(found: Evidence) -> list[str]:
    result, reference = found.result, found.params.reference
    own = result.arms[reference]
    lines = [
        f"`{reference}`, the reference: {WORDS[PRIMARY]} {number(own[PRIMARY].value)} by image, "
        f"{number(own['kappa_quadratic_patient'].value)} by patient as the mean of the images, "
        f"{number(own['kappa_quadratic_patient_denser'].value)} by the breast that looks denser."
    ]
    if found.ceiling:
        top = found.ceiling[PRIMARY]
        lines.append(
            f"An observer who knows the true dense share reaches {number(top)}: the reference has "
            f"{own[PRIMARY].value / top:.0%} of it."
        )
    rate = found.compare.false_discovery_rate
    lines += standing(result, found.baselines.better, rate)
    lines += moved(result, reference, rate)
    fallen = {name: how_many(runs, "collapsed") for name, runs in found.facts.items()}
    some = [f"`{name}` {n} of {len(found.facts[name])}" for name, n in fallen.items() if n]
    lines.append(f"Trainings that collapsed on the patients held out: {', '.join(some) or 'none'}.")
    return lines


def _settings(found: Evidence) -> dict[str, list[str]]:
    said = {
        name: [f"`{arm.strategy}`" + "".join(f", `{change}`" for change in arm.set)]
        for name, arm in found.arms.items()
    }
    return {"": ["what is set"], **said}


def _trained(found: Evidence) -> str:
    names = found.params.trained
    if not names:
        return ""
    facts = {name: found.facts[name] for name in names}
    split = found.params.splits[0]
    by_fold = {
        name: {run.removeprefix(f"{split}-"): fact for run, fact in runs.items()}
        for name, runs in facts.items()
    }
    counts = {name: next(iter(facts[name].values()))["trainable_parameters"] for name in names}
    said = {name: [f"{number:,}"] for name, number in counts.items()}
    again = (
        " They learn from train; a head that is solved alone learns from val too (`head.refit`), "
        "a third more patients: `train_alone` is the probe on equal terms."
        if found.refit
        else ""
    )
    return (
        f"## Trained further\n\nFrom the solved head, in the first split alone.{again}\n\n"
        + arms_table(found.result, names, {"": ["trained parameters"], **said})
        + f"\n\nFold by fold, {WORDS[PRIMARY]} on the fold's test patients, the epoch that was "
        "kept (0 is the solved head) of how many:\n\n" + by_run(by_fold, "fold", PRIMARY)
    )


def _ensembles(found: Evidence) -> str:
    names = list(found.params.ensembles)
    if not names:
        return ""
    said = {
        name: [", ".join(f"`{member}`" for member in found.params.ensembles[name])]
        for name in names
    }
    return "## Ensembles\n\nThe mean of the members' probabilities.\n\n" + arms_table(
        found.result, names, {"": ["members"], **said}
    )


def _baselines(found: Evidence) -> str:
    given = found.baselines
    names = list(given.judged)
    kappas = ", ".join(f"`{name}` {number(kappa)}" for name, kappa in given.cross_fitted.items())
    return (
        "## Baselines\n\nSolved in every fold on what heads that are solved alone learnt from. The "
        f"better of those that look at grey values is `{given.better}`: it has the larger "
        f"{WORDS[PRIMARY]} on a fold's train, cross-fitted by patient, in the mean over folds "
        f"({kappas}); what is judged here has no say in it.\n\n"
        + arms_table(found.result, names, {"": [], **{name: [] for name in names}})
    )


def _spread(found: Evidence) -> str:
    if len(found.params.splits) < 2:
        return ""
    lines = [
        f"`{name}`: {spread(found.result.arms[name][PRIMARY])}"
        for name in found.arms
        if len(found.result.repeats[name]) > 1
    ]
    return (
        f"## Spread over splits\n\n{WORDS[PRIMARY].capitalize()} by image: standard deviation "
        "(smallest to largest), patients unchanged: what it changes who shares a fold with "
        "whom.\n\n" + bullets(lines)
    )


def _limits(found: Evidence) -> list[str]:
    most = max(
        (
            measured.undefined_draws
            for arm in found.result.arms.values()
            for measured in arm.values()
            if measured.low is not None
        ),
        default=0,
    )
    lines = [
        "The intervals say what other patients and other splits would change, not what another "
        "training seed would: a solved head has none, for the others there is `studies/seeds`.",
        "The networks of two folds share most of their training images, so errors of different "
        "patients aren't quite independent; the intervals take no account of it.",
        "The best of many arms is flattered by being picked.",
    ]
    if len(found.params.splits) < 4:
        splits = count(len(found.params.splits), "split")
        lines.append(f"{splits} into folds: how much it matters which, they tell roughly.")
    if most:
        lines.append(
            f"Up to {most:,} of {found.compare.draws:,} draws lack a class and leave some metric "
            "undefined; they are left out of its interval, which claims too much to that extent."
        )
    return lines
