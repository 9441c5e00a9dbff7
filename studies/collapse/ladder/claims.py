"""What is claimed of collapse, held against the runs: a table of claims, a function each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from studies.collapse.ladder.records import RolesParams
from studies.collapse.ladder.verdict import paired

Holds = Literal["yes", "in part", "no"]


@dataclass(frozen=True)
class Runs:
    """The judged runs, and what is said of them.

    Attributes:
        runs: From `studies.collapse.ladder.verdict.runs_table`.
        rows: From `rows_table`, by row.
        roles: Which rows the claims are about.
    """

    runs: pd.DataFrame
    rows: dict[str, dict[str, Any]]
    roles: RolesParams

    def collapsed(self, name: str) -> int:
        """Count a row's collapsed runs."""
        return int(self.rows[name]["collapsed"])

    def mostly(self, name: str) -> bool:
        """Say whether more than half of a row's runs collapsed."""
        return self.collapsed(name) > int(self.rows[name]["seeds"]) / 2

    def differences(self, first: str, second: str, column: str = "kappa") -> np.ndarray:
        """Subtract two rows seed by seed: (seeds,)."""
        return paired(self.runs, first, second, column)

    def counted(self, *names: str) -> str:
        """Say how many runs of some rows collapsed."""
        parts = (f"`{n}` {self.collapsed(n)} of {self.rows[n]['seeds']}" for n in names)
        return f"Collapsed runs: {', '.join(parts)}."

    def means(self, *names: str, column: str = "kappa") -> str:
        """Say the mean of a column for some rows."""
        parts = (f"`{n}` {self.rows[n][column]['mean']:.2f}" for n in names)
        return f"Mean {column.replace('_', ' ')} on test: {', '.join(parts)}."

    def difference(self, first: str, second: str, column: str = "kappa") -> str:
        """Say how two rows differ seed by seed."""
        ways = self.differences(first, second, column)
        return (
            f"{column} of `{first}` less that of `{second}`, seed by seed: mean "
            f"{ways.mean():+.2f}, higher with {int((ways > 0).sum())} of {len(ways)} seeds."
        )


Verdict = tuple[Holds, str]


def full_collapses(found: Runs) -> Verdict:
    """Most runs collapse: yes; any: in part."""
    full = found.roles.full
    holds: Holds = "yes" if found.mostly(full) else "in part" if found.collapsed(full) else "no"
    return holds, f"{found.counted(full)} {found.means(full)}"


def frozen_does_better(found: Runs) -> Verdict:
    """Every seed is better: yes; on average: in part."""
    frozen, full = found.roles.sampler, found.roles.full
    ways = found.differences(frozen, full)
    return _by_sign(ways), f"{found.means(frozen, full)} {found.difference(frozen, full)}"


def head_underfits(found: Runs) -> Verdict:
    """The head alone is worse with every seed: yes; on average: in part."""
    head, deeper, solved = found.roles.head, found.roles.sampler, found.roles.solved
    ways = found.differences(deeper, head)
    return _by_sign(ways), (
        f"{found.means(head, deeper, solved)} {found.difference(head, deeper)} Solved to the end, "
        f"the same head: {found.difference(solved, head)}"
    )


def rate_alone_decides(found: Runs) -> Verdict:
    """Most runs collapse at the high rate and none at the other: yes; more of them: in part."""
    fast, sane = found.roles.rate, found.roles.full
    return _more_collapse(found, fast, sane), found.counted(fast, sane)


def imbalance_decides(found: Runs) -> Verdict:
    """Most unbalanced runs collapse and none of their balanced twins."""
    plain, balanced = found.roles.head_unbalanced, found.roles.head
    twins = found.roles.unbalanced, found.roles.sampler
    return _more_collapse(found, plain, balanced), (
        f"{found.counted(plain, balanced)} {found.means(plain, balanced, column='largest_share')} "
        f"With the last block trained too: {found.counted(*twins)}"
    )


def sampler_suffices(found: Runs) -> Verdict:
    """None collapses and every seed gains balanced accuracy: yes; none collapses: in part."""
    sampler, plain, weights = found.roles.sampler, found.roles.unbalanced, found.roles.weights
    gain = found.differences(sampler, plain, "bal_acc_adj")
    safe = not found.collapsed(sampler)
    holds: Holds = "yes" if safe and (gain > 0).all() else "in part" if safe else "no"
    return holds, (
        f"{found.counted(sampler)} {found.difference(sampler, plain, 'bal_acc_adj')} "
        f"{found.difference(sampler, weights, 'bal_acc_adj')}"
    )


def double_is_unstable(found: Runs) -> Verdict:
    """More runs collapse, or every seed swings more: yes."""
    double, single = found.roles.double, found.roles.sampler
    swings = found.differences(double, single, "largest_swing")
    more = found.collapsed(double) > found.collapsed(single)
    return "yes" if more or (swings > 0).all() else "no", (
        f"{found.counted(double, single)} From epoch to epoch the largest share swings by "
        f"{found.rows[double]['largest_swing']:.2f} on average, with the sampler alone by "
        f"{found.rows[single]['largest_swing']:.2f}: more with {int((swings > 0).sum())} of "
        f"{len(swings)} seeds. {found.difference(double, single, 'bal_acc_adj')}"
    )


def solved_start_helps(found: Runs) -> Verdict:
    """Every seed is better from a solved head: yes; on average: in part."""
    start, chance = found.roles.start, found.roles.full
    return _by_sign(found.differences(start, chance)), found.difference(start, chance)


def solved_head_holds(found: Runs) -> Verdict:
    """None collapses, unbalanced as it is: yes; fewer than by gradient: in part."""
    solved, trained = found.roles.solved_unbalanced, found.roles.head_unbalanced
    none = not found.collapsed(solved)
    fewer = found.collapsed(solved) < found.collapsed(trained)
    holds: Holds = "yes" if none else "in part" if fewer else "no"
    return holds, (
        f"{found.counted(solved, trained, found.roles.solved)} {found.difference(solved, trained)}"
    )


def drift_harms(found: Runs) -> Verdict:
    """BatchNorm moved and every seed is worse: yes; it moved: in part."""
    drifting, still = found.roles.drifting, found.roles.sampler
    drift, ways = found.rows[drifting], found.differences(drifting, still)
    if not drift["drift_sd"]:
        return "no", "Nothing drifted."
    return "yes" if (ways < 0).all() else "in part", (
        f"BatchNorm's running means moved by {drift['drift_sd']:.3f} standard deviations and its "
        f"variances by {drift['drift_var']:.1%} (mean of channels and seeds); the pipeline's "
        f"frozen blocks have it folded into their convolutions. {found.difference(drifting, still)}"
    )


def image_split_flatters(found: Runs) -> Verdict:
    """Val less test is larger by image with every seed: yes; on average: in part."""
    by_image, grouped = found.roles.sampler, found.roles.grouped
    ways = found.differences(by_image, grouped, "optimism")
    return _by_sign(ways), (
        f"bal_acc_adj on val less that on test: `{by_image}` "
        f"{found.rows[by_image]['optimism']:+.2f}, `{grouped}` "
        f"{found.rows[grouped]['optimism']:+.2f}. {found.difference(by_image, grouped, 'optimism')}"
    )


CLAIMS: dict[str, Callable[[Runs], Verdict]] = {
    "Full fine-tuning without balancing collapses": full_collapses,
    "A frozen network with its last block trained and the sampler does better": frozen_does_better,
    "The head alone underfits": head_underfits,
    "There is a collapse of optimisation: the learning rate alone decides": rate_alone_decides,
    "There is a collapse of the prior: at a sane rate the imbalance decides": imbalance_decides,
    "A solved head doesn't collapse": solved_head_holds,
    "Full fine-tuning is better from a solved head": solved_start_helps,
    "The sampler alone suffices": sampler_suffices,
    "Sampler and class weights together are unstable": double_is_unstable,
    "Frozen blocks left in train mode drift, and that does harm": drift_harms,
    "A split by image flatters val": image_split_flatters,
}


def claims(found: Runs) -> list[dict[str, str]]:
    """Hold each claim against the runs: `claim`, `holds`, `means` (when it does), `evidence`."""
    held = []
    for claim, judge in CLAIMS.items():
        holds, evidence = judge(found)
        means = str(judge.__doc__)
        held.append({"claim": claim, "holds": holds, "means": means, "evidence": evidence})
    return held


def _by_sign(ways: np.ndarray) -> Holds:
    return "yes" if (ways > 0).all() else "in part" if ways.mean() > 0 else "no"


def _more_collapse(found: Runs, fallen: str, standing: str) -> Holds:
    if found.mostly(fallen) and not found.collapsed(standing):
        return "yes"
    return "in part" if found.collapsed(fallen) > found.collapsed(standing) else "no"
