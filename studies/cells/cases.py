"""The images that a study is about, and its folds."""

import pandas as pd

from mammo import paths
from mammo.cohort.params import SplitParams
from mammo.cohort.splits import assign_patients, describe_splits
from mammo.storage.files import read_table


def accepted_images() -> pd.DataFrame:
    """Read the images that preprocessing accepted: key, patient, laterality, view, label."""
    accepted = read_table(paths.TENSOR_INDEX)["key"]
    images = read_table(paths.IMAGES).merge(read_table(paths.LABELS), on="key")
    return images[images["key"].isin(accepted)]


def fold_cases(
    images: pd.DataFrame, params: SplitParams, seed: int, fold: int, classes: list[str]
) -> pd.DataFrame:
    """Split with one fold for test and the next for val, as stage `split` does.

    Raises:
        UserError: A class is missing somewhere and `split.missing_class` is `error`.
    """
    values = {**params.model_dump(), "seed": seed, "test_fold": fold, "val_fold": None}
    params = SplitParams.model_validate(values)
    splits = assign_patients(images, params)
    describe_splits(images, splits, classes, params)
    return images.merge(splits, on="key")
