"""List the experiments of this commit, best first, on a screen of 120 columns: `make experiments`.

`dvc exp show` has a column for every metric, parameter and dependency. Here are the parameters
that an experiment changed, and the figures to choose by: those on val; the others are for the end.
"""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mammo.errors import UserError
from mammo.stage import run_stage

WIDTH = 120
SHOWN = {  # heading -> key of metrics/report.json
    "val_kappa": "val_kappa",
    "val_bal_acc_adj": "val_bal_acc_adj",
    "kappa": "kappa",
    "bal_acc_adj": "bal_acc_adj",
    "patient": "kappa_patient",
    "status": "status",
}


@dataclass(frozen=True)
class Experiment:
    """One row: what it is called, what it changed, what came of it."""

    name: str
    changed: dict[str, Any]
    metrics: dict[str, Any]
    state: str = ""  # queued, running, failed; empty once it has ended well

    @property
    def rank(self) -> tuple[float, float]:
        """Order by the figures on val; what has none comes last."""
        values = [self.metrics.get(key) for key in ("val_kappa", "val_bal_acc_adj")]
        first, second = (float("-inf") if value is None else value for value in values)
        return first, second


def main() -> None:
    """Ask DVC and print.

    Raises:
        UserError: DVC can't say.
    """
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    shown = subprocess.run(command, check=False, capture_output=True, text=True)
    if shown.returncode:
        raise UserError(f"`dvc exp show` ended with {shown.returncode}:\n{shown.stderr.strip()}")
    experiments = sorted(
        read_experiments(json.loads(shown.stdout)), key=lambda e: e.rank, reverse=True
    )
    print("\n".join(table(experiments)))


def read_experiments(shown: list[dict[str, Any]]) -> Iterator[Experiment]:
    """Read what `dvc exp show --json` says of the present commit and the experiments from it."""
    commit = next(entry for entry in shown if entry["rev"] != "workspace")
    start = parameters(commit)
    yield Experiment(commit.get("name") or commit["rev"][:7], {}, metrics(commit))
    for entry in commit.get("experiments") or []:
        last = entry["revs"][0]
        differing = {k: v for k, v in parameters(last).items() if start.get(k, None) != v}
        state = (entry.get("executor") or {}).get("state") or ""
        state = "" if state == "success" else state
        name = entry.get("name") or last["rev"][:7]
        yield Experiment(name, differing, metrics(last), state)


def parameters(entry: dict[str, Any]) -> dict[str, Any]:
    """Flatten params.yaml to dotted keys."""
    files = (entry.get("data") or {}).get("params") or {}
    return dict(leaves(files.get("params.yaml", {}).get("data") or {}))


def metrics(entry: dict[str, Any]) -> dict[str, Any]:
    """Return metrics/report.json; empty where there is none yet."""
    files = (entry.get("data") or {}).get("metrics") or {}
    return files.get("metrics/report.json", {}).get("data") or {}


def leaves(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Walk nested mappings: dotted key, value."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def table(experiments: list[Experiment]) -> list[str]:
    """Lay the rows out; what was changed is wrapped to what the other columns leave."""
    heading = ["experiment", *SHOWN]
    rows = [[e.name, *(figure(e, key) for key in SHOWN.values())] for e in experiments]
    widths = [max(len(row[n]) for row in [heading, *rows]) for n in range(len(heading))]
    room = max(WIDTH - sum(widths) - 2 * len(widths), len("changed"))
    lines = [line(heading, "changed", widths, room)]
    for row, experiment in zip(rows, experiments, strict=True):
        changed = " ".join(f"{key}={value}" for key, value in experiment.changed.items())
        first, *rest = textwrap.wrap(changed, room) or [""]
        lines.append(line(row, first, widths, room))
        lines += [f"{'':{widths[0]}}  {part}" for part in rest]
    return [text.rstrip() for text in lines]


def figure(experiment: Experiment, key: str) -> str:
    """Print one figure; the state of an experiment that hasn't ended stands for its status."""
    value = experiment.metrics.get(key)
    if key == "status" and experiment.state:
        return experiment.state
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def line(row: list[str], changed: str, widths: list[int], room: int) -> str:
    """Join the cells of one line."""
    cells = [f"{text:>{width}}" for text, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([f"{row[0]:{widths[0]}}", f"{changed:{room}}", *cells])


if __name__ == "__main__":
    run_stage(main)
