"""What the detector would have said by another rule: its alarms replayed from the recorded epochs.

A status is judged epoch by epoch; the rule says how many collapsed ones in a row raise an alarm
(`patience`), and whether those of the warm-up count towards them. No rule raises one in the
warm-up. The pipeline's, `mammo.training.watch.Watch`, doesn't count them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from studies.collapse.ladder.verdict import TruthParams, detector_table, runs_table

PATIENCES = (1, 2, 3)


@dataclass(frozen=True)
class Rule:
    """When an alarm is raised."""

    patience: int
    counts_warmup: bool


def alarms(statuses: Sequence[str], warmup: int, rule: Rule) -> list[int]:
    """Say where a rule raises an alarm: 1 or 0 for each epoch of a run, one alarm a streak."""
    found, streak, raised = [], 0, False
    for epoch, status in enumerate(statuses, start=1):
        in_warmup = epoch <= warmup
        if status != "collapsed":
            streak, raised = 0, False
        elif rule.counts_warmup or not in_warmup:
            streak += 1
        now = streak >= rule.patience and not in_warmup and not raised
        raised = raised or now
        found.append(int(now))
    return found


def rules_table(
    epochs: pd.DataFrame, warmups: dict[str, int], truth: TruthParams
) -> list[dict[str, Any]]:
    """Judge every rule by the same epochs.

    Args:
        epochs: The records of `studies.collapse.ladder.rows.run_row`, all runs, whole and in order.
        warmups: Each row's `warmup_epochs`.
        truth: As `runs_table` takes it.

    Returns:
        `patience` and `counts_warmup` of a rule, with `detector_table` of its alarms.
    """
    rules = [Rule(patience, counts) for counts in (False, True) for patience in PATIENCES]
    found = []
    for rule in rules:
        replayed = epochs.copy()
        for (row, _), run in epochs.groupby(["row", "seed"], sort=False):
            raised = alarms(run["val_status"].tolist(), warmups[str(row)], rule)
            replayed.loc[run.index, "alarm"] = raised
        judged = detector_table(runs_table(replayed, truth), truth)
        found.append({"patience": rule.patience, "counts_warmup": rule.counts_warmup, **judged})
    return found
