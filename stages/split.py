"""Assign each patient to one split: data/{images,labels}.csv -> data/splits.csv.

Only images that stage preprocess accepted (data/tensors/index.csv) take part.
"""

from mammo import paths
from mammo.cohort.classes import CLASSES, ClassSet
from mammo.cohort.params import SplitParams
from mammo.cohort.splits import assign_patients, describe_splits
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import read_table, write_json, write_table
from mammo.storage.keys import require_same, require_within


def main() -> None:
    """Run the stage."""
    params = load_params("split", SplitParams)
    classes = list(CLASSES[load_leaf("dataset.classes", ClassSet)])
    accepted = read_table(paths.TENSOR_INDEX)["key"]
    images, labels = read_table(paths.IMAGES), read_table(paths.LABELS)
    require_same(paths.IMAGES, images["key"], paths.LABELS, labels["key"])
    require_within(paths.TENSOR_INDEX, accepted, paths.IMAGES, images["key"])
    images = images.merge(labels, on="key")
    images = images[images["key"].isin(accepted)]
    splits = assign_patients(images, params)
    description = describe_splits(images, splits, classes, params)
    write_table(splits, paths.SPLITS)
    write_json(description, paths.SPLIT_METRICS)


if __name__ == "__main__":
    run_stage(main)
