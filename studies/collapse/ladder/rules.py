"""When the detector raises an alarm, by the pipeline's rule or another, from the recorded epochs.

A rule says which epochs are collapsed on val, how many in a row raise an alarm, and what lets it
stand after the last one. None is raised in the warm-up. One rule is chosen on half of the seeds
and judged on the other half, so that it isn't praised for what it was fitted to.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from mammo.evaluation.params import CollapseParams
from studies.collapse.ladder.records import Ladder, TruthParams
from studies.collapse.ladder.verdict import detector_table, runs_table


@dataclass(frozen=True)
class Rule:
    """When an alarm is raised.

    Attributes:
        patience: Collapsed epochs in a row.
        counts_warmup: Those of the warm-up count towards it.
        share: An epoch is collapsed from this largest predicted share on,
        kappa: or with a kappa below this and a class never recalled.
        standing: At the end that counts only from this largest predicted share on.
    """

    patience: int
    counts_warmup: bool
    share: float
    kappa: float
    standing: float


def pipeline_rule(detector: CollapseParams) -> Rule:
    """Give the rule of `mammo.training.watch`."""
    return Rule(
        detector.patience, False, detector.collapsed_share, detector.collapsed_kappa,
        detector.standing_share,
    )  # fmt: skip


def candidates(detector: CollapseParams) -> list[Rule]:
    """List the rules to choose from, the pipeline's first."""
    own = pipeline_rule(detector)
    found = (
        Rule(*values)
        for values in product((2, 1, 3), (False, True), (0.99,), (0.2, 0.1, 0.0), (0.9, 0.95, 0.0))
    )
    return [own, *(rule for rule in found if rule != own)]


def collapsed_epochs(epochs: pd.DataFrame, rule: Rule, detector: CollapseParams) -> np.ndarray:
    """Say which epochs a rule calls collapsed on val: (n,) bool."""
    natural = epochs["val_true_share"] >= detector.natural_share
    one_class = (epochs["val_share"] >= rule.share) & ~natural
    lost = (epochs["val_kappa"] < rule.kappa) & (epochs["val_missed"] >= detector.min_support)
    return (one_class | lost).to_numpy()


def standing_epochs(epochs: pd.DataFrame, rule: Rule, detector: CollapseParams) -> np.ndarray:
    """Say after which epochs, were they the last, a rule calls val collapsed: (n,) bool."""
    return collapsed_epochs(epochs, rule, detector) & (epochs["val_share"] >= rule.standing)


def alarms(collapsed: Sequence[bool], warmup: int, rule: Rule) -> list[int]:
    """Say where a rule raises an alarm: 1 or 0 for each epoch of a run, one alarm a streak.

    A run of one record is a solved head: there is no second epoch to wait for.
    """
    found, streak, raised = [], 0, False
    patience = min(rule.patience, len(collapsed))
    for epoch, fallen in enumerate(collapsed, start=1):
        in_warmup = epoch <= warmup
        if not fallen:
            streak, raised = 0, False
        elif rule.counts_warmup or not in_warmup:
            streak += 1
        now = streak >= patience and not in_warmup and not raised
        raised = raised or now
        found.append(int(now))
    return found


def judged_by(epochs: pd.DataFrame, rule: Rule, ladder: Ladder) -> pd.DataFrame:
    """Judge every run by a rule: see `runs_table`."""
    replayed = epochs.assign(
        fallen=collapsed_epochs(epochs, rule, ladder.detector),
        stands=standing_epochs(epochs, rule, ladder.detector),
        alarm=0,
    )
    for (row, _), run in replayed.groupby(["row", "seed"], sort=False):
        raised = alarms(run["fallen"].tolist(), ladder.warmups[str(row)], rule)
        replayed.loc[run.index, "alarm"] = raised
    return runs_table(replayed, ladder.truth)


def halves(epochs: pd.DataFrame, seeds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the records by seed: those to choose a rule on, and those to judge it on."""
    first = epochs["seed"] < seeds // 2
    return epochs[first].reset_index(drop=True), epochs[~first].reset_index(drop=True)


def choose_rule(epochs: pd.DataFrame, ladder: Ladder) -> Rule:
    """Choose the rule that misses the target least: see `faults`; the earlier one where equal."""
    rules = candidates(ladder.detector)
    return min(rules, key=lambda rule: faults(judged_by(epochs, rule, ladder), ladder.truth))


def faults(runs: pd.DataFrame, truth: TruthParams) -> tuple[int, int]:
    """Count what misses the target, and then the alarms that came and went.

    The target: an alarm for every collapsed run in time, and none that stands on a run that test
    never shows collapsed.
    """
    found = detector_table(runs, truth)
    late = found["collapsed"] - found["in_time"]
    return late + found["standing_never"], found["alarmed"]


def rules_report(epochs: pd.DataFrame, ladder: Ladder) -> dict[str, Any]:
    """Choose a rule on one half of the seeds; judge it and the pipeline's on the other.

    Returns:
        `chosen`: the rule; `halves`: by `chosen on` and `judged on` the detector's table and the
        faults of both rules.
    """
    own, parts = pipeline_rule(ladder.detector), halves(epochs, ladder.seeds)
    chosen = choose_rule(parts[0], ladder)
    report: dict[str, Any] = {}
    for half, part in zip(("chosen on", "judged on"), parts, strict=True):
        report[half] = {}
        for who, rule in (("pipeline", own), ("chosen", chosen)):
            runs = judged_by(part, rule, ladder)
            report[half][who] = {
                **detector_table(runs, ladder.truth), "faults": faults(runs, ladder.truth)[0]
            }  # fmt: skip
    same = chosen == own
    return {"pipeline": asdict(own), "chosen": asdict(chosen), "same": same, "halves": report}
