"""Read the cells of a study, and put folds together: each image judged once, held out each time.

Held out: by a network that neither trained on that patient nor had its epoch chosen on it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mammo.errors import UserError
from mammo.storage.files import read_json, read_table


def read_cell(folder: Path) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Read one cell: the predictions and the facts of each of its runs."""
    path = folder / "predictions.csv"
    numbers = [c for c in read_table(path).columns if c.startswith("probability_")]
    rows = read_table(path, **dict.fromkeys(numbers, float))
    tables = {
        str(run): part.drop(columns="run").reset_index(drop=True)
        for run, part in rows.groupby("run", sort=False)
    }
    return tables, read_json(folder / "facts.json")


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
            f"studies: an image must be tested in one fold, got {twice[0]} in several; run "
            "`dvc repro` in the study's folder so that all are of one run"
        )
    return pooled
