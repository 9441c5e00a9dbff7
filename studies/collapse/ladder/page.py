"""The collapse study's results as one page: the ladder, the claims, the detector.

No number here is typed by hand: each comes from the runs or from the params.
"""

from typing import Any

import numpy as np
import pandas as pd

from studies.collapse.ladder.claims import Runs, claims
from studies.collapse.ladder.records import Ladder
from studies.collapse.ladder.rules import judged_by, pipeline_rule, rules_report
from studies.collapse.ladder.verdict import detector_table, rows_table


def results(epochs: pd.DataFrame, ladder: Ladder) -> dict[str, Any]:
    """Sum up the records of all epochs: the rows, the detector, other rules for it, the claims."""
    runs = judged_by(epochs, pipeline_rule(ladder.detector), ladder)
    rows = rows_table(runs)
    rounded: dict[str, Any] = _rounded(
        {
            "rows": rows,
            "detector": detector_table(runs, ladder.truth),
            "misses": _misses(runs, ladder),
            "rules": rules_report(epochs, ladder),
            "claims": claims(Runs(runs, rows, ladder.roles)),
        }
    )
    return rounded


def _misses(runs: pd.DataFrame, ladder: Ladder) -> list[str]:
    """Name each run on which detector and truth differ at the end, with the figures of both."""
    late = runs["standing_alarm"] - runs["onset"] > ladder.truth.within_epochs
    undetected = (runs["collapsed"] == 1) & runs["standing_alarm"].isna()
    standing = (runs["collapsed"] == 0) & runs["standing_alarm"].notna()
    lines = []
    for run in runs[late | undetected | standing].to_dict("records"):
        alarm = "none" if np.isnan(run["standing_alarm"]) else f"epoch {run['standing_alarm']:.0f}"
        if run["collapsed"]:
            text = (
                f"collapsed in truth from epoch {run['onset']:.0f}, standing alarm: {alarm}; "
                f"warm-up: {ladder.warmups[run['row']]} epochs, patience: "
                f"{ladder.detector.patience}"
            )
        else:
            ever = "at some time" if run["ever_collapsed"] else "never"
            text = (
                f"not collapsed in truth at the end and {ever} before, standing alarm: {alarm}; on "
                f"test at the end kappa {run['kappa']:.2f}, bal_acc_adj {run['bal_acc_adj']:.2f}, "
                f"largest share {run['largest_share']:.2f}"
            )
        lines.append(f"`{run['row']}`, seed {run['seed']}: {text}")
    return lines


def page(found: dict[str, Any], ladder: Ladder) -> str:
    """Write results.md."""
    truth = ladder.truth
    total = sum(ladder.shares.values())
    shares = ", ".join(f"{k} {100 * v / total:.1f} %" for k, v in ladder.shares.items())
    tested = ladder.images // 2
    sections = [
        "# The collapse study: results\n\n"
        f"{len(ladder.steps)} rows with {ladder.seeds} seeds each, on ImageNet's parameters. "
        f"Phantoms of {ladder.size_px} pixels: {ladder.images - tested} images to learn from and "
        f"to validate, {tested} of other patients to test, the same for every row and seed; "
        f"classes: {shares}. A run has **collapsed in truth** if after its last epoch bal_acc_adj "
        f"on test is below {truth.bal_acc_adj_below:g} and one class takes at least "
        f"{100 * truth.share_from:g} % of the predictions. Written by `summarise.py` from the "
        "records in `epochs/`.\n\n"
        "![bal_acc_adj and largest predicted share of every run](ladder.png)",
        _rows_section(found["rows"], ladder),
        _claims_section(found["claims"]),
        _detector_section(found, ladder),
        _rules_section(found["rules"]),
        _limits_section(ladder),
    ]
    return "\n\n".join(sections) + "\n"


def _rows_section(rows: dict[str, dict[str, Any]], ladder: Ladder) -> str:
    head = (
        "| | row | | bal_acc_adj | kappa | largest share | collapsed | with an alarm | "
        "val − test | drift |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    lines = []
    for number, (name, row) in enumerate(rows.items(), start=1):
        drift = "–" if row["drift_sd"] is None else f"{row['drift_sd']:.3g}; {row['drift_var']:.2g}"
        lines.append(
            f"| {number} | `{name}` | {ladder.label(name)} | {_span(row['bal_acc_adj'])} | "
            f"{_span(row['kappa'])} | {_span(row['largest_share'])} | "
            f"{row['collapsed']} of {row['seeds']}{_to(row['favourites'])} | "
            f"{row['alarmed']} of {row['seeds']} | {row['optimism']:+.2f} | {drift} |"
        )
    text = (
        "\n\nMean over seeds and, in brackets, the least and the most of them; on test, after the "
        "last epoch. *With an alarm*: the detector raised one at any time. *val − test*: "
        "bal_acc_adj. *Drift*: how far BatchNorm's running means moved in the frozen blocks, in "
        "standard deviations, and its variances, as a share; means over channels; – where nothing "
        "is frozen."
    )
    return "## The ladder\n\n" + head + "\n".join(lines) + text


def _claims_section(found: list[dict[str, str]]) -> str:
    lines = ["| claim | holds here | evidence |", "| --- | --- | --- |"]
    lines += [
        f"| {c['claim']} | **{c['holds']}** | {c['evidence']} ({c['means']}) |" for c in found
    ]
    missed = [c["claim"] for c in found if c["holds"] == "no"]
    text = (
        "Not reproduced here: " + "; ".join(missed) + "."
        if missed
        else "None of the claims fails to reproduce altogether."
    )
    return "## What is claimed, and what came out\n\n" + "\n".join(lines) + "\n\n" + text


def _detector_section(results: dict[str, Any], ladder: Ladder) -> str:
    found = results["detector"]
    within = ladder.truth.within_epochs
    lags = ", ".join(f"{lag:+d}" for lag in found["lags"]) or "none"
    misses = "".join(f"- {line}.\n" for line in results["misses"])
    return (
        "## The detector against the truth\n\n"
        "The detector is the pipeline's own (`collapse` in the root's params.yaml) and sees val "
        "alone. The onset is the first epoch of the last unbroken run of epochs collapsed in "
        "truth; an alarm stands if no better epoch has cleared it by the end, and the last one is "
        "collapsed as the end is judged (`collapse.standing_share`).\n\n"
        f"- Of {found['collapsed']} runs collapsed in truth an alarm stands for "
        f"{found['detected']}, raised at most {within} epochs after the onset for "
        f"{found['in_time']}. Alarm less onset, in epochs: {lags}.\n"
        f"- Of {found['healthy']} other runs {found['alarmed']} had an alarm at some time; it "
        f"stands at the end for {found['standing']}. Test too was collapsed in truth at some time "
        f"in {found['passing']} of the {found['alarmed']}.\n"
        f"- Precision {_ratio(found['precision'])}, recall {_ratio(found['recall'])} for an alarm "
        f"that stands; precision {_ratio(found['precision_ever'])}, recall "
        f"{_ratio(found['recall_ever'])} if any alarm counts, cleared ones too.\n\n"
        "The target is an alarm for every collapsed run at most "
        f"{within} epochs after its onset, and none that stands on a run that test never shows "
        "collapsed. "
        + _verdict(found)
        + (f" Where detector and truth differ at the end:\n\n{misses}" if misses else "")
    ).rstrip("\n")


def _verdict(found: dict[str, Any]) -> str:
    late, false = found["collapsed"] - found["in_time"], found["standing_never"]
    if not late and not false:
        return "It is reached."
    return (
        f"It is missed: {late} of {found['collapsed']} collapsed runs without an alarm in time, "
        f"{false} of {found['healthy']} others with one that stands though test never shows them "
        "collapsed."
    )


def _rules_section(rules: dict[str, Any]) -> str:
    lines = [
        "| seeds | rule | in time | standing, never collapsed | others with an alarm | precision | "
        "recall |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for half, by_rule in rules["halves"].items():
        for who, found in by_rule.items():
            cells = [
                half, who, f"{found['in_time']} of {found['collapsed']}",
                f"{found['standing_never']} of {found['healthy']}", f"{found['alarmed']}",
                _ratio(found["precision"]), _ratio(found["recall"]),
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    own, other = rules["halves"]["judged on"]["pipeline"], rules["halves"]["judged on"]["chosen"]
    if rules["same"]:
        said = "The pipeline's own rule misses least on the first half of the seeds; it stays."
    else:
        said = (
            f"Chosen on the first half of the seeds: {_in_words(rules['chosen'])}. On the other "
            f"half it misses the target {other['faults']} times, the pipeline's rule "
            f"({_in_words(rules['pipeline'])}) {own['faults']} times."
        )
    return (
        "## Other rules for the alarm\n\n"
        "The same epochs, judged anew by rules that differ in what counts as a collapsed epoch, "
        "how many in a row raise an alarm, whether those of the warm-up count, and what lets an "
        "alarm stand after the last one. A rule is "
        f"chosen on half of the seeds and judged on the other half. {said}\n\n" + "\n".join(lines)
    )


def _in_words(rule: dict[str, Any]) -> str:
    kappa = f" or kappa below {rule['kappa']:g} with a class lost" if rule["kappa"] else ""
    counted = "counting" if rule["counts_warmup"] else "not counting"
    standing = f" from a share of {rule['standing']:g} on" if rule["standing"] else ""
    return (
        f"a share of {rule['share']:g} or more{kappa}, {rule['patience']} epochs in a row, "
        f"{counted} the warm-up's, standing at the end{standing}"
    )


def _limits_section(ladder: Ladder) -> str:
    return (
        "## Limits\n\n"
        f"- {ladder.seeds} seeds a row: a row in which none collapses may well collapse with the "
        "next one.\n"
        f"- Small phantoms of {ladder.size_px} pixels and one network; a larger set, other images "
        "or another network may behave otherwise.\n"
        "- The claims come from other images and perhaps another network: what fails to reproduce "
        "here isn't refuted there."
    )


def _span(found: dict[str, float]) -> str:
    return f"{found['mean']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _to(favourites: str) -> str:
    return f" (all answers {' or '.join(favourites)})" if favourites else ""


def _ratio(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _rounded(value: Any) -> Any:
    """Round all floats to 6 digits, so that the file can be compared by eye."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(float(value), 6) if isinstance(value, float) else value
