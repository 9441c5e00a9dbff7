"""The page's tables of what was measured: experiments, results by level, groups, calibration."""

from collections.abc import Mapping

from mammo.comparison.results import Comparison, Sample
from mammo.comparison.terms import WORDS, in_words
from mammo.comparison.wording import NOTHING, interval, share_of, table, value
from mammo.evaluation.levels import LEVELS

RESULT_COLUMNS = ("kappa_quadratic", "kappa", "bal_acc_adj", "auc_macro", "far_error_share")
DENSE_COLUMNS = ("kappa_dense", "accuracy_dense", "sensitivity_dense", "specificity_dense")


def experiments(result: Comparison, trained: Mapping[str, tuple[int, float]]) -> str:
    """Write the table of experiments: what was trained, how it does on every level, its status.

    Args:
        result: From `mammo.comparison.compare.compare`.
        trained: By strategy, how many parameters, and what per cent of all.
    """
    two = len(result.sample.classes) == 2
    rows = []
    arms = dict(result.arms)
    if result.ceiling:
        arms["ceiling"] = result.ceiling
    for name, arm in arms.items():
        quadratic = [arm.levels[level].get("kappa_quadratic") for level in arm.levels]
        cells = [f"`{name}`" if name != "ceiling" else "ceiling", arm.status or NOTHING]
        cells += [_trainable(trained.get(name)), *map(interval, quadratic)]
        if result.ceiling:
            highest = result.ceiling.image["kappa_quadratic"]
            cells.append(share_of(arm.image["kappa_quadratic"].value, highest))
        if not two:  # of two classes kappa and quadratic kappa are one
            cells += [value(arm.image.get("kappa")), value(arm.patient.get("kappa"))]
        cells.append(value(arm.image.get("accuracy")))
        certain = name == "ceiling"  # ranks nothing: it says one class outright
        cells.append(
            NOTHING if certain else value(arm.image.get("auc_dense" if two else "auc_macro"))
        )
        cells.append(value(arm.image.get("macro_f1")))
        rows.append(cells)
    kappa = "kappa" if two else "quadratic kappa"
    header = ["", "status", "trained parameters"]
    header += [f"{kappa}, {level}" for level in LEVELS]
    header += ["of the ceiling"] if result.ceiling else []
    header += [] if two else ["kappa, image", "kappa, patient"]
    header += ["accuracy", "AUC", "macro F1"]
    ceiling = (
        " The ceiling is an observer who knows the true dense share of every phantom and answers "
        "its class: the reader's slips are all that keeps it from 1."
        if result.ceiling
        else ""
    )
    return (
        "## Experiments\n\n"
        f"Status is that of the answers on test. {_levels_in_words(result.sample)}{ceiling}\n\n"
        + table(header, rows)
    )


def _levels_in_words(sample: Sample) -> str:
    whose = (
        "a patient's are those of the breast that looks denser (of higher expected class)"
        if sample.patient_rule == "denser"
        else "so are a patient's"
    )
    return (
        f"A breast's probabilities are the mean over its images, {whose}; a patient counts as the "
        "denser breast does."
    )


def results(result: Comparison) -> str:
    """Write the tables of all arms, by image, breast and patient, and as dense or not."""
    two = len(result.sample.classes) == 2
    columns = [
        m for m in RESULT_COLUMNS if not two or m not in ("kappa_quadratic", "far_error_share")
    ]
    by_image = [
        [f"`{name}`", *(interval(arm.image.get(metric)) for metric in columns)]
        for name, arm in result.arms.items()
    ]
    by_level = [
        [f"`{name}`"]
        + [interval(arm.levels[level].get("kappa")) for level in arm.levels]
        + [interval(arm.patient.get("bal_acc_adj")), interval(arm.patient.get("auc_dense"))]
        for name, arm in result.arms.items()
    ]
    of_patients = [f"{WORDS[metric]}, patient" for metric in ("bal_acc_adj", "auc_dense")]
    sections = [
        "## Results, by image\n\n" + table(["", *(WORDS[metric] for metric in columns)], by_image),
        "## Results, by image, breast and patient\n\n"
        f"Kappa on each level; by patient also the {WORDS['bal_acc_adj']} and the AUC for dense ("
        + " or ".join(result.sample.dense_classes)
        + ") versus not.\n\n"
        + table(
            ["", *(f"kappa, {level}" for level in LEVELS), *of_patients],
            by_level,
        ),
        "" if two else _dense(result),
    ]
    return "\n\n".join(section for section in sections if section)


def _dense(result: Comparison) -> str:
    """Write what the answers say about dense or not, read off a network of more classes."""
    rows = [
        [f"`{name}`"]
        + [interval(arm.image.get(metric)) for metric in (*DENSE_COLUMNS, "auc_dense")]
        for name, arm in result.arms.items()
    ]
    dense = " or ".join(result.sample.dense_classes)
    return (
        f"## Dense ({dense}) or not, read off these answers\n\n"
        "By image: every answer counts as dense or not. (A network trained on the two classes "
        "alone is `dataset.classes: ab_cd`.)\n\n"
        + table(["", *(WORDS[metric] for metric in DENSE_COLUMNS), "AUC"], rows)
    )


def groups(result: Comparison) -> str:
    """Write quadratic kappa by maker, age band, view and side, for the strategies."""
    if not result.groups:
        return ""
    names = list(result.strategies)
    rows = []
    for group in result.groups:
        cells = [
            interval(group.strategies[name].get("kappa_quadratic"))
            if name in group.strategies
            else "too few"
            for name in names
        ]
        label = f"{in_words(group.dimension)} {group.value}"
        rows.append([label, f"{group.images:,} ({group.patients:,})", *cells])
    return (
        "## By group\n\n"
        "Quadratic kappa of the test images of each group. Groups of fewer than five patients "
        "aren't judged. Kappa depends on the shares of the classes in a group: a lower one alone "
        "doesn't say that its images are judged less well.\n\n"
        + table(["", "images (patients)", *(f"`{name}`" for name in names)], rows)
    )


def calibration(result: Comparison) -> str:
    """Write how far stated confidence lies from what is right, before and after a temperature."""
    rows = []
    for name, arm in result.arms.items():
        found = arm.calibration
        if found is None or found.temperature is None:
            continue
        mark = " (end of the range searched)" if found.temperature_at_bound else ""
        rows.append(
            [
                f"`{name}`",
                interval(arm.image["ece"]),
                f"{found.temperature:.2f}{mark}",
                interval(arm.image["ece_tempered"]),
            ]
        )
    return (
        "## Calibration\n\n"
        "Expected calibration error: how far stated confidence lies from the share that is right. "
        "The temperature is fitted on val and applied to test; above 1 it says overconfident. The "
        "intervals take it as given, and chance alone keeps this error above 0.\n\n"
        + table(["", "error", "temperature", "error after"], rows)
    )


def _trainable(found: tuple[int, float] | None) -> str:
    return NOTHING if found is None else f"{found[0]:,} ({found[1]:.3g} %)"
