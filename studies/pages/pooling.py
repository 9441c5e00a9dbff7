"""Read the cells of a study, and put folds together: each image judged once, held out each time.

Held out: by a network that neither trained on that patient nor had its epoch chosen on it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo.errors import UserError
from mammo.storage.files import read_json, read_table


@dataclass(frozen=True)
class Runs:
    """What the runs of one arm answered, and what they were, by run."""

    tables: dict[str, pd.DataFrame]
    facts: dict[str, dict[str, Any]]

    @property
    def rule(self) -> str:
        """How most of the runs answer: argmax or median."""
        rules: Counter[str] = Counter(facts["decision"] for facts in self.facts.values())
        return rules.most_common(1)[0][0]


def read_cells(folders: Sequence[Path]) -> Runs:
    """Read the runs of some cells as those of one arm."""
    found = Runs({}, {})
    for folder in folders:
        path = folder / "predictions.csv"
        numbers = [c for c in read_table(path).columns if c.startswith("probability_")]
        rows = read_table(path, **dict.fromkeys(numbers, float))
        for run, part in rows.groupby("run", sort=False):
            found.tables[str(run)] = part.drop(columns="run").reset_index(drop=True)
        found.facts.update(read_json(folder / "facts.json"))
    return found


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


def pool_splits(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Pool the folds of each split: tables by `SPLIT-FOLD` -> by split."""
    splits = dict.fromkeys(run.rsplit("-", 1)[0] for run in tables)
    return {
        split: pool_folds([table for run, table in tables.items() if run.startswith(f"{split}-")])
        for split in splits
    }


def mean_of(members: Sequence[Mapping[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Average the probabilities of several arms, for every repeat that all have."""
    common = [repeat for repeat in members[0] if all(repeat in member for member in members)]
    return {repeat: _mean([member[repeat] for member in members]) for repeat in common}


def _mean(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    columns = [c for c in tables[0].columns if c.startswith("probability_")]
    by_key = [table.set_index("key")[columns] for table in tables]
    keys = list(tables[0]["key"])
    mean = np.mean([found.loc[keys].to_numpy() for found in by_key], axis=0)
    return tables[0].assign(**dict(zip(columns, mean.T, strict=True)))
