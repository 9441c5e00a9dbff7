"""Judge the runs of the collapse study: which collapsed in truth, and what the detector said.

The truth is taken from test patients whom the detector never sees: a run has collapsed if its
last epoch answers (nearly) one class for everybody and is no better than chance.
"""

from typing import Any

import numpy as np
import pandas as pd

from studies.collapse.ladder.records import TruthParams


def runs_table(epochs: pd.DataFrame, truth: TruthParams) -> pd.DataFrame:
    """Judge each run: one row a run, in the order of `epochs`.

    Args:
        epochs: The records of `studies.collapse.ladder.bench.run_row`, all runs, with `fallen`,
            `stands` and `alarm` by the rule on trial.
        truth: When an epoch counts as collapsed.

    Returns:
        row, seed; `bal_acc_adj`, `kappa`, `largest_share` on test after the last epoch,
        `val_bal_acc_adj`, and `optimism`, the latter less the former; `largest_swing`, the mean
        change of the largest share from epoch to epoch on test; `alarms`, the epoch of the
        `first_alarm` and of the `standing_alarm` (which neither a better epoch has cleared nor the
        end), NaN for none; `collapsed` and `onset` in truth; `drift_*`.
    """
    runs = [
        _judge(run.reset_index(drop=True), truth)
        for _, run in epochs.groupby(["row", "seed"], sort=False)
    ]
    return pd.DataFrame(runs)


def _judge(run: pd.DataFrame, truth: TruthParams) -> dict[str, Any]:
    last = run.iloc[-1]
    low = run["test_bal_acc_adj"] < truth.bal_acc_adj_below
    in_truth = (low & (run["test_share"] >= truth.share_from)).to_numpy()
    collapsed_val = run["fallen"].to_numpy(dtype=bool)
    number = run["epoch"].to_numpy()
    alarms = number[run["alarm"].to_numpy() == 1]
    streak = final_streak(collapsed_val) if run["stands"].iloc[-1] else 0
    standing = alarms[alarms > number[-1] - streak] if streak else alarms[:0]
    onset = number[len(run) - final_streak(in_truth)] if in_truth[-1] else np.nan
    return {
        "row": last["row"],
        "seed": last["seed"],
        "bal_acc_adj": last["test_bal_acc_adj"],
        "kappa": last["test_kappa"],
        "largest_share": last["test_share"],
        "favourite": last["test_favourite"],
        "val_bal_acc_adj": last["val_bal_acc_adj"],
        "optimism": last["val_bal_acc_adj"] - last["test_bal_acc_adj"],
        "largest_swing": run["test_share"].diff().abs().mean(),
        "val_status": last["val_status"],
        "alarms": len(alarms),
        "first_alarm": alarms[0] if len(alarms) else np.nan,
        "standing_alarm": standing[0] if len(standing) else np.nan,
        "collapsed": int(in_truth[-1]),
        "onset": onset,
        "ever_collapsed": int(in_truth.any()),
        "drift_sd": last["drift_sd"],
        "drift_var": last["drift_var"],
    }


def final_streak(flags: np.ndarray) -> int:
    """Count how many of the last flags are set without a break."""
    unset = np.flatnonzero(~flags)
    return len(flags) - (int(unset[-1]) + 1 if len(unset) else 0)


def detector_table(runs: pd.DataFrame, truth: TruthParams) -> dict[str, Any]:
    """Hold the detector's alarms against the truth.

    Returns:
        Counts of runs: `collapsed`; of them `detected` (an alarm stands at the end) and `in_time`
        (it was raised at most `within_epochs` after the onset). Of the others: `healthy`,
        `alarmed` (an alarm at any time) and, among these, `standing`, `standing_never` (it stands
        and test never shows the run collapsed), and `passing`, for which test too was collapsed
        in truth at some time. `precision` and `recall` of "an alarm stands
        at the end", and of "there ever was an alarm" (`precision_ever`, `recall_ever`); None
        where there is nothing to divide by. `lags`: alarm minus onset, in epochs, of the detected.
    """
    collapsed, healthy = runs[runs["collapsed"] == 1], runs[runs["collapsed"] == 0]
    detected = collapsed[collapsed["standing_alarm"].notna()]
    lags = (detected["standing_alarm"] - detected["onset"]).astype(int)
    standing = healthy["standing_alarm"].notna()
    ever = healthy["alarms"] > 0
    ever_detected = int((collapsed["alarms"] > 0).sum())
    return {
        "runs": len(runs),
        "collapsed": len(collapsed),
        "detected": len(detected),
        "in_time": int((lags <= truth.within_epochs).sum()),
        "lags": sorted(lags.tolist()),
        "healthy": len(healthy),
        "alarmed": int(ever.sum()),
        "standing": int(standing.sum()),
        "standing_never": int((standing & (healthy["ever_collapsed"] == 0)).sum()),
        "passing": int((ever & (healthy["ever_collapsed"] == 1)).sum()),
        "precision": _share(len(detected), len(detected) + int(standing.sum())),
        "recall": _share(len(detected), len(collapsed)),
        "precision_ever": _share(ever_detected, ever_detected + int(ever.sum())),
        "recall_ever": _share(ever_detected, len(collapsed)),
    }


def rows_table(runs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Sum up each row over its seeds: mean, least and most of what is judged; counts."""
    found = {}
    for name, part in runs.groupby("row", sort=False):
        spans = {
            column: {
                "mean": part[column].mean(), "low": part[column].min(), "high": part[column].max()
            }
            for column in ("bal_acc_adj", "kappa", "largest_share", "val_bal_acc_adj")
        }  # fmt: skip
        not_everywhere = {  # a solved head has one record, and most rows' frozen blocks can't move
            column: None if part[column].isna().all() else part[column].mean()
            for column in ("largest_swing", "drift_sd", "drift_var")
        }
        found[str(name)] = {
            "seeds": len(part),
            **spans,
            "optimism": part["optimism"].mean(),
            "collapsed": int(part["collapsed"].sum()),
            "alarmed": int((part["alarms"] > 0).sum()),
            "favourites": "".join(sorted(set(part.loc[part["collapsed"] == 1, "favourite"]))),
            **not_everywhere,
        }
    return found


def paired(runs: pd.DataFrame, first: str, second: str, column: str) -> np.ndarray:
    """Subtract two rows seed by seed, first minus second: (seeds,)."""
    by_seed = [runs[runs["row"] == name].set_index("seed")[column] for name in (first, second)]
    return (by_seed[0] - by_seed[1]).to_numpy()


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
