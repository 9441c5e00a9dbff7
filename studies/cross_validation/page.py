"""The page of the cross-validation, written from the data: no number is typed by hand."""

import pandas as pd

from mammo.comparison.page import baselines, differences, experiments, results, summary
from mammo.comparison.results import Comparison
from mammo.comparison.wording import count, percent
from studies.cells.wording import Facts, bullets, by_run, how_many, undefined


def cross_validation_page(
    subject: str, result: Comparison, cells: Facts, cases: pd.DataFrame
) -> str:
    """Write the page of the pooled folds.

    Args:
        subject: What the images are, in words.
        result: From `mammo.comparison.compare.compare`, of the pooled predictions.
        cells: Of each training, from `studies.cells.pooling.read_cell`, by strategy and fold.
        cases: Columns patient, label of every image.
    """
    sample = result.sample
    folds = len(next(iter(cells.values())))
    patients = cases.groupby("label")["patient"].nunique()
    rarest = min((c for c in sample.classes if c in patients), key=lambda c: patients[c])
    first = {name: next(iter(by_fold.values())) for name, by_fold in cells.items()}
    trained = {n: (f["trainable_parameters"], f["trainable_percent"]) for n, f in first.items()}
    opening = (
        f"# Cross-validation: {subject}\n\n"
        f"{count(sample.images, 'image')} ({count(sample.breasts, 'breast')}, "
        f"{count(sample.patients, 'patient')}), classes {', '.join(sample.classes)}, "
        f"{folds} folds of whole patients. Every image is judged once, by a network that neither "
        "trained on its patient nor had its epoch chosen on it. A metric is computed once, on all "
        f"these answers together, not averaged over folds: class {rarest} comes from "
        f"{count(int(patients[rarest]), 'patient')}, so that many a fold would hold next to none, "
        f"and {folds} values from overlapping training sets are no sample to draw an interval "
        "from. The baselines are fitted anew in every fold, too. Brackets are "
        f"{percent(sample.confidence)} intervals from "
        f"{sample.draws:,} bootstrap draws of whole patients."
    )
    collapsed = [f"`{name}` {how_many(by_fold, 'collapsed')}" for name, by_fold in cells.items()]
    short = [
        *summary(result),
        f"- Folds of {folds} in which it collapsed on the patients held out: "
        f"{', '.join(collapsed)}.",
    ]
    limits = [
        "The intervals say what other patients would change for these trained networks, not what "
        "another seed would: for that there is `studies/seeds`.",
        "AUCs rank the answers of different networks against each other, and differences in "
        "calibration between folds lower them; kappa and accuracy don't suffer from that.",
        "The networks of two folds share most of their training images, so errors of different "
        "patients aren't quite independent; the intervals take no account of it.",
        "No temperature is fitted: what is val in one fold is test in another.",
        *undefined(result.strategies, sample.draws),
    ]
    sections = [
        opening,
        "## In short\n\n" + "\n".join(short),
        experiments(result, trained),
        results(result),
        "## Fold by fold\n\nKappa on the fold's test patients, with the epoch that was kept.\n\n"
        + by_run(cells, "fold"),
        differences(result),
        baselines(result),
        "## Limits\n\n" + bullets(limits),
    ]
    return "\n\n".join(sections) + "\n"
