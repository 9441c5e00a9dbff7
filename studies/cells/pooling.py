"""Put the folds of a cross-validation together: each image judged once, by a stranger to it.

A stranger: a network that neither trained on that patient nor had its epoch chosen on it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mammo.errors import UserError
from mammo.storage.files import read_json

CELL_FACTS = (
    "best_epoch", "epochs", "trainable_parameters", "trainable_percent", "collapsed",
    "status_at_end", "kappa", "bal_acc_adj", "max_predicted_share",
)  # fmt: skip


def pool_folds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Stack the test rows of all folds.

    Args:
        tables: Predictions of one arm, one table a fold; their other splits are left out.

    Raises:
        UserError: An image is in the test split of several folds.
    """
    pooled = pd.concat([table[table["split"] == "test"] for table in tables], ignore_index=True)
    twice = sorted(pooled["key"][pooled["key"].duplicated()])
    if twice:
        raise UserError(
            f"studies/cross_validation: an image must be tested in one fold, got {twice[0]} in "
            "several; run `dvc repro studies/cross_validation/dvc.yaml` so that all are of one run"
        )
    return pooled


def cell_facts(metrics: dict[str, Any]) -> dict[str, Any]:
    """Pick what the pages say of one cell out of its metrics.json."""
    return {name: metrics[name] for name in CELL_FACTS} | {"alerts": len(metrics["alerts"])}


def read_cells(
    folder: Path, strategies: Sequence[str], runs: Sequence[int]
) -> dict[str, dict[int, dict[str, Any]]]:
    """Read the facts of all cells, by strategy and by fold or seed."""
    return {
        name: {
            run: cell_facts(read_json(folder / f"{name}-{run}" / "metrics.json")) for run in runs
        }
        for name in strategies
    }
