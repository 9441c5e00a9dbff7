"""Hold what is claimed of collapse against the runs of the collapse study."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from studies.collapse.ladder.records import Ladder
from studies.collapse.ladder.verdict import paired


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


def _harm(differences: np.ndarray, drift: dict[str, Any]) -> str:
    if not drift["drift_sd"]:
        return "no"
    return "yes" if (differences < 0).all() else "in part"


def _mean_shares(rows: dict[str, dict[str, Any]], names: Sequence[str]) -> str:
    parts = [f"`{n}` {rows[n]['largest_share']['mean']:.2f}" for n in names]
    return f"Mean largest share: {', '.join(parts)}."
