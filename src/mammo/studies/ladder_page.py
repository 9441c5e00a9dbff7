"""The collapse study's results: what is claimed and what came out, one page and one figure.

No number here is typed by hand: each comes from the runs or from the params.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pydantic import Field

from mammo.errors import UserError
from mammo.files import read_table
from mammo.params import Params, load_leaf, load_params
from mammo.studies.ladder_verdict import (
    TruthParams,
    detector_table,
    paired,
    rows_table,
)

Bands = dict[str, dict[str, dict[str, list[float]]]]
NUMBERS = ("bal_acc_adj", "kappa", "share")
HEALTHY, COLLAPSED, MEAN = "#0072B2", "#D55E00", "#000000"  # Okabe and Ito 2008


class RolesParams(Params):
    """Section `roles`: which rows the claims are about."""

    optimisation: Annotated[list[str], Field(min_length=2, max_length=2)]
    full: Annotated[list[str], Field(min_length=1)]
    ungrouped: Annotated[list[str], Field(min_length=1)]
    prior: Annotated[list[str], Field(min_length=2, max_length=2)]
    unbalanced: str
    weights: str
    sampler: str
    double: str
    drifting: str


@dataclass(frozen=True)
class Ladder:
    """What the page needs of the params: each row's `what`, the roles, the truth, the sizes."""

    rows: dict[str, str]
    roles: RolesParams
    truth: TruthParams
    seeds: int
    images: int
    held_out: int
    shares: dict[str, float]
    size_px: int


def load_ladder(study: Path) -> Ladder:
    """Load the ladder from the study's params file."""
    rows = load_leaf("rows", dict[str, dict[str, Any]], study)
    return Ladder(
        rows={name: row["what"] for name, row in rows.items()},
        roles=load_params("roles", RolesParams, study),
        truth=load_params("truth", TruthParams, study),
        seeds=load_leaf("seeds", int, study),
        images=load_leaf("phantom.images", int, study),
        held_out=load_leaf("held_out.images", int, study),
        shares=load_leaf("phantom.class_shares", dict[str, float], study),
        size_px=load_leaf("preprocess.size_px", int, study),
    )


def read_epochs(folder: Path, rows: Sequence[str]) -> pd.DataFrame:
    """Read the records of all runs, in the order of the ladder."""
    floats = {f"{split}_{name}": float for split in ("val", "test") for name in NUMBERS}
    kinds = dict.fromkeys(("seed", "epoch", "alarm"), int) | floats
    epochs = pd.concat(
        [read_table(folder / f"{name}.csv", **kinds) for name in rows], ignore_index=True
    )
    for column in ("drift_sd", "drift_var"):
        epochs[column] = pd.to_numeric(epochs[column])  # blank where nothing is frozen
    return epochs


def read_bands(path: Path) -> Bands:
    """Read what `studies/collapse/set_bands.py` wrote.

    Raises:
        UserError: The file is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; write it with studies/collapse/set_bands.py")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def results(runs: pd.DataFrame, ladder: Ladder) -> dict[str, Any]:
    """Sum up: the rows, the detector, the claims."""
    rows = rows_table(runs)
    detector = detector_table(runs, ladder.truth)
    return _rounded({"rows": rows, "detector": detector, "claims": claims(runs, rows, ladder)})


def claims(
    runs: pd.DataFrame, rows: dict[str, dict[str, Any]], ladder: Ladder
) -> list[dict[str, str]]:
    """Hold each claim against the runs: `claim`, `holds` (yes, no, in part), `evidence`."""
    roles = ladder.roles

    def collapsed(name: str) -> int:
        return int(rows[name]["collapsed"])

    def counted(names: Sequence[str]) -> str:
        return ", ".join(f"`{n}` {collapsed(n)} of {rows[n]['seeds']}" for n in names)

    def difference(first: str, second: str) -> str:
        ways = paired(runs, first, second, "bal_acc_adj")
        return (
            f"bal_acc_adj of `{first}` less that of `{second}`, seed by seed: mean "
            f"{ways.mean():+.2f}, higher with {int((ways > 0).sum())} of {len(ways)} seeds"
        )

    usual = [collapsed(n) > rows[n]["seeds"] / 2 for n in roles.full]
    fast, sane = roles.optimisation
    by_rate = collapsed(fast) > rows[fast]["seeds"] / 2 and collapsed(sane) == 0
    plain, balanced = roles.prior
    by_prior = collapsed(plain) > rows[plain]["seeds"] / 2 and collapsed(balanced) == 0
    twins = [roles.unbalanced, roles.sampler]
    gain = paired(runs, roles.sampler, roles.unbalanced, "bal_acc_adj")
    swings = paired(runs, roles.double, roles.sampler, "largest_swing")
    unstable = collapsed(roles.double) > collapsed(roles.sampler) or bool((swings > 0).all())
    drift, still = rows[roles.drifting], rows[roles.sampler]
    ungrouped = [n for n in ladder.rows if n in roles.ungrouped]
    grouped = [n for n in ladder.rows if n not in roles.ungrouped]
    leaks = [float(np.mean([rows[n]["optimism"] for n in part])) for part in (ungrouped, grouped)]
    return [
        {
            "claim": "Full fine-tuning collapses",
            "holds": "yes" if all(usual) else "in part" if any(usual) else "no",
            "evidence": f"Collapsed runs: {counted(roles.full)}.",
        },
        {
            "claim": "There is a collapse of optimisation: the learning rate alone decides",
            "holds": "yes" if by_rate else "in part" if collapsed(fast) > collapsed(sane) else "no",
            "evidence": f"Collapsed runs: {counted(roles.optimisation)}; all else is the same.",
        },
        {
            "claim": "There is a collapse of the prior: at a sane rate the imbalance decides",
            "holds": "yes"
            if by_prior
            else "in part"
            if collapsed(plain) > collapsed(balanced)
            else "no",
            "evidence": f"Collapsed runs: {counted(roles.prior)}; all else is the same. "
            f"{_mean_shares(rows, roles.prior)} With more of the network trained: "
            f"{counted(twins)}. {_mean_shares(rows, twins)}",
        },
        {
            "claim": "The sampler alone suffices",
            "holds": "yes"
            if collapsed(roles.sampler) == 0 and (gain > 0).all()
            else "in part"
            if collapsed(roles.sampler) == 0
            else "no",
            "evidence": f"Collapsed runs: {counted([roles.sampler])}; "
            f"{difference(roles.sampler, roles.unbalanced)}; "
            f"{difference(roles.sampler, roles.weights)}. (Yes: no run collapses, and each seed "
            "is better than without balancing.)",
        },
        {
            "claim": "Sampler and class weights together are unstable",
            "holds": "yes" if unstable else "no",
            "evidence": f"Collapsed runs: {counted([roles.double, roles.sampler])}. From epoch to "
            f"epoch the largest share swings by {rows[roles.double]['largest_swing']:.2f} on "
            f"average, with the sampler alone by {still['largest_swing']:.2f}: more with "
            f"{int((swings > 0).sum())} of {len(swings)} seeds; "
            f"{difference(roles.double, roles.sampler)}. (Yes: more runs collapse, or all seeds "
            "swing more.)",
        },
        {
            "claim": "Frozen blocks left in train mode drift, and that does harm",
            "holds": _harm(paired(runs, roles.drifting, roles.sampler, "bal_acc_adj"), drift),
            "evidence": f"BatchNorm's running means moved by {drift['drift_sd']:.3f} standard "
            f"deviations and its variances by {drift['drift_var']:.1%} (mean of channels and "
            f"seeds), in the pipeline's frozen blocks by {still['drift_sd']:g} and "
            f"{still['drift_var']:.0%}; {difference(roles.drifting, roles.sampler)}. (Yes: they "
            "moved and every seed is worse; in part: they moved.)",
        },
        {
            "claim": "A split by image flatters val",
            "holds": "yes" if leaks[0] > max(leaks[1], 0) else "no",
            "evidence": f"bal_acc_adj on val less that on test: {leaks[0]:+.2f} on average over "
            f"the rows split by image, {leaks[1]:+.2f} over those split by patient; the rows "
            "differ in more than the split.",
        },
    ]


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
        _detector_section(found["detector"], ladder),
    ]
    return "\n\n".join(sections) + "\n"


def draw_ladder(runs: pd.DataFrame, ladder: Ladder) -> Figure:
    """Draw every run: bal_acc_adj and largest predicted share on test, a line of dots a row."""
    names = list(ladder.rows)
    figure = Figure(figsize=(11, 0.56 * len(names) + 1.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _ladder_panel(left, runs, names, "bal_acc_adj", ladder.truth.bal_acc_adj_below)
    _ladder_panel(right, runs, names, "largest_share", ladder.truth.share_from)
    left.set_title("Balanced accuracy above chance, on test\n(0: chance, 1: perfect)", fontsize=11)
    right.set_title("Largest predicted share, on test\n(1: one class for all)", fontsize=11)
    left.set_xlim(min(-0.04, runs["bal_acc_adj"].min() - 0.04), 1.04)
    right.set_xlim(0.2, 1.04)
    labels = [f"{i}. {ladder.rows[name]}" for i, name in enumerate(names, start=1)]
    left.set_yticks(range(len(names)), labels)
    left.invert_yaxis()
    handles = [
        Line2D([], [], marker="o", color=HEALTHY, linestyle="", label="a run (one seed)"),
        Line2D([], [], marker="X", color=COLLAPSED, linestyle="", label="a run collapsed in truth"),
        Line2D(
            [], [], marker="o", markersize=11, markerfacecolor="none", markeredgecolor="#777777",
            linestyle="", label="the detector's alarm stands at the end",
        ),
        Line2D([], [], marker="|", markersize=12, color=MEAN, linestyle="", label="mean of seeds"),
        Line2D([], [], color="#777777", linestyle=":", label="bound of the truth"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=10, frameon=False)
    return figure


def _ladder_panel(
    axes: Axes, runs: pd.DataFrame, names: list[str], column: str, bound: float
) -> None:
    axes.axvline(bound, color="#777777", linestyle=":", linewidth=1.2, zorder=1)
    for height, name in enumerate(names):
        part = runs[runs["row"] == name].reset_index(drop=True)
        # seeds beside each other, so that equal runs don't hide one another
        offsets = np.linspace(-0.24, 0.24, len(part)) if len(part) > 1 else np.zeros(1)
        heights = height + offsets
        fell = (part["collapsed"] == 1).to_numpy()
        alarmed = part["standing_alarm"].notna().to_numpy()
        value = part[column].to_numpy()
        axes.plot(
            value[alarmed], heights[alarmed], "o", markersize=11, markerfacecolor="none",
            markeredgecolor="#777777", zorder=2,
        )  # fmt: skip
        axes.plot(value[~fell], heights[~fell], "o", color=HEALTHY, markersize=6)
        axes.plot(value[fell], heights[fell], "X", color=COLLAPSED, markersize=7)
        axes.plot([value.mean()] * 2, [height - 0.34, height + 0.34], color=MEAN, linewidth=1.6)
    for height in range(1, len(names)):
        axes.axhline(height - 0.5, color="#e4e4e4", linewidth=0.8, zorder=0)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


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


def _detector_section(found: dict[str, Any], ladder: Ladder) -> str:
    within = ladder.truth.within_epochs
    lags = ", ".join(f"{lag:+d}" for lag in found["lags"]) or "none"
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
        + _detector_verdict(found, within)
    )


def _detector_verdict(found: dict[str, Any], within: int) -> str:
    missed = found["collapsed"] - found["in_time"]
    if not missed and not found["alarmed"]:
        return (
            f"Every collapsed run was detected within {within} epochs, and no other had an alarm."
        )
    parts = []
    if missed:
        parts.append(f"{missed} collapsed runs were not detected in time")
    if found["alarmed"]:
        parts.append(f"{found['alarmed']} runs that had not collapsed by the end had an alarm")
    return f"The detector isn't perfect by this truth: {' and '.join(parts)}."


def _harm(differences: np.ndarray, drift: dict[str, Any]) -> str:
    if not drift["drift_sd"]:
        return "no"
    return "yes" if (differences < 0).all() else "in part"


def _mean_shares(rows: dict[str, dict[str, Any]], names: Sequence[str]) -> str:
    parts = [f"`{n}` {rows[n]['largest_share']['mean']:.2f}" for n in names]
    return f"Mean largest share: {', '.join(parts)}."


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
