"""The collapse study's results as one page: the ladder, the claims, the detector.

No number here is typed by hand: each comes from the runs or from the params.
"""

from typing import Any

import numpy as np
import pandas as pd

from studies.collapse.ladder.claims import claims
from studies.collapse.ladder.records import Ladder
from studies.collapse.ladder.rules import rules_table
from studies.collapse.ladder.verdict import detector_table, rows_table, runs_table


def results(epochs: pd.DataFrame, ladder: Ladder) -> dict[str, Any]:
    """Sum up the records of all epochs: the rows, the detector, other rules for it, the claims."""
    runs = runs_table(epochs, ladder.truth)
    rows = rows_table(runs)
    return _rounded(
        {
            "rows": rows,
            "detector": detector_table(runs, ladder.truth),
            "misses": _misses(runs, ladder),
            "rules": rules_table(epochs, ladder.warmups, ladder.truth),
            "claims": claims(runs, rows, ladder),
        }
    )


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
                f"warm-up: {ladder.warmups[run['row']]} epochs, patience: {ladder.patience}"
            )
        else:
            text = (
                f"not collapsed in truth, standing alarm: {alarm}; on test at the end kappa "
                f"{run['kappa']:.2f}, bal_acc_adj {run['bal_acc_adj']:.2f}, largest share "
                f"{run['largest_share']:.2f}"
            )
        lines.append(f"`{run['row']}`, seed {run['seed']}: {text}")
    return lines


def page(found: dict[str, Any], ladder: Ladder) -> str:
    """Write results.md."""
    truth = ladder.truth
    total = sum(ladder.shares.values())
    shares = ", ".join(f"{k} {100 * v / total:.1f} %" for k, v in ladder.shares.items())
    sections = [
        "# The collapse study: results\n\n"
        f"{len(ladder.rows)} rows with {ladder.seeds} seeds each. Phantoms of {ladder.size_px} "
        f"pixels; {ladder.images} images to learn from and to validate, {ladder.held_out} of other "
        f"patients to test, the same for every row and seed; classes: {shares}. A run has "
        "**collapsed in truth** if after its last epoch bal_acc_adj on test is below "
        f"{truth.bal_acc_adj_below:g} and one class takes at least {100 * truth.share_from:g} % of "
        "the predictions. Written by `summarise.py` from `runs.csv`.\n\n"
        "![bal_acc_adj and largest predicted share of every run](ladder.png)",
        _rows_section(found["rows"], ladder),
        _claims_section(found["claims"]),
        _detector_section(found, ladder),
        _rules_section(found["rules"], ladder),
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
            f"| {number} | `{name}` | {ladder.rows[name]} | {_span(row['bal_acc_adj'])} | "
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
    lines += [f"| {c['claim']} | **{c['holds']}** | {c['evidence']} |" for c in found]
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
        "truth; an alarm stands if no better epoch has cleared it by the end.\n\n"
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
        f"{within} epochs after its onset and none for any other run. "
        + _detector_verdict(found)
        + (f" Where the two differ at the end:\n\n{misses}" if misses else "")
    ).rstrip("\n")


def _detector_verdict(found: dict[str, Any]) -> str:
    late = found["collapsed"] - found["in_time"]
    if not late and not found["alarmed"]:
        return "It is reached."
    return (
        f"It is missed: {late} of {found['collapsed']} collapsed runs without an alarm in time, "
        f"{found['alarmed']} of {found['healthy']} others with one, {found['standing']} of them "
        "at the end."
    )


def _rules_section(rules: list[dict[str, Any]], ladder: Ladder) -> str:
    lines = [
        "| patience | epochs of the warm-up | detected | in time | other runs with an alarm | "
        "never collapsed in truth | standing | precision | recall |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rule in rules:
        own = rule["patience"] == ladder.patience and not rule["counts_warmup"]
        cells = [
            f"{rule['patience']}{' (the pipeline)' if own else ''}",
            "count" if rule["counts_warmup"] else "don't count",
            f"{rule['detected']} of {rule['collapsed']}",
            f"{rule['in_time']}",
            f"{rule['alarmed']} of {rule['healthy']}",
            f"{rule['alarmed'] - rule['passing']}",
            f"{rule['standing']}",
            _ratio(rule["precision"]),
            _ratio(rule["recall"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return (
        "## Other rules for the alarm\n\n"
        "The same epochs, judged anew: how many collapsed ones in a row raise an alarm, and "
        "whether those of the warm-up count towards them; none is raised before it has ended. "
        "*Never collapsed in truth*: of the other runs with an alarm, those that test never shows "
        "collapsed. Precision and recall are of alarms that stand.\n\n" + "\n".join(lines)
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
