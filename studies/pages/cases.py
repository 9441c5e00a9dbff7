"""The images that a study is about, and its folds."""

from pathlib import Path

import pandas as pd

from mammo import paths
from mammo.cohort.params import SplitParams
from mammo.cohort.splits import assign_patients
from mammo.storage.files import read_table


def accepted_images(home: Path = Path()) -> pd.DataFrame:
    """Read the images that preprocessing accepted: key, patient, laterality, view, label.

    Args:
        home: The folder above data/.
    """
    accepted = read_table(home / paths.TENSOR_INDEX)["key"]
    images = read_table(home / paths.IMAGES).merge(read_table(home / paths.LABELS), on="key")
    return images[images["key"].isin(accepted)]


def fold_cases(images: pd.DataFrame, params: SplitParams, seed: int, fold: int) -> pd.DataFrame:
    """Split with one fold for test and the next for val, as stage `split` does."""
    values = {**params.model_dump(), "seed": seed, "test_fold": fold, "val_fold": None}
    splits = assign_patients(images, SplitParams.model_validate(values))
    return images.merge(splits, on="key")
