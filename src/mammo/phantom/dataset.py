"""Write the synthetic dataset: a DICOM file for each image of its plan, labels.csv, the truth."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix
from tqdm import tqdm

from mammo.errors import UserError
from mammo.phantom.dicom_writer import write_image
from mammo.phantom.params import PhantomParams
from mammo.phantom.plan import CLASSES, PlannedImage, plan_images, true_class
from mammo.running.serving import Task
from mammo.running.workers import Bounds, run_in_order
from mammo.storage.files import whole_folder, write_table

TRUTH_COLUMNS = ["image_path", "dense_share", "true_class"]


@dataclass(frozen=True)
class Drawn:
    """What is known of a written data set and must stay outside of its folder.

    Attributes:
        truth: `TRUTH_COLUMNS`, a row an image.
        ceiling: How well the true shares tell the labels, from `ceiling`.
    """

    truth: pd.DataFrame
    ceiling: dict[str, Any]


# Of one image: far beyond what the largest takes.
_BOUNDS = Bounds(timeout_s=600, memory_mb=8192)


def write_phantom(folder: Path, params: PhantomParams, workers: int = 0) -> Drawn:
    """Write `labels.csv` and the DICOM files below `folder`, whole or not at all.

    The files don't depend on `workers` (0: this process), and none but labels.csv says a density.

    Raises:
        UserError: An image couldn't be drawn.
    """
    images = plan_images(params)
    with whole_folder(folder) as partial:
        for image in images:
            (partial / image.path).parent.mkdir(parents=True, exist_ok=True)
        shares = list(_write_images(images, partial, params, workers))
        labels = labels_table(images)
        write_table(labels, partial / "labels.csv")
    truth = truth_table(images, shares)
    return Drawn(truth, ceiling(labels["density"], truth["true_class"]))


def write_task(task: Task) -> tuple[dict[str, Any], None]:
    """Write the image of a task; return its dense share."""
    image, params = PlannedImage(**task["image"]), PhantomParams(**task["params"])
    return {"dense_share": write_image(image, Path(task["folder"]), params)}, None


def _write_images(
    images: list[PlannedImage], folder: Path, params: PhantomParams, workers: int
) -> Iterator[float]:
    shared = {"folder": str(folder), "params": params.model_dump(mode="json")}
    tasks = [{"image": asdict(image), **shared} for image in images]
    outcomes = run_in_order("mammo.phantom.dataset:write_task", tasks, workers, _BOUNDS)
    for outcome in tqdm(outcomes, total=len(images), desc="phantom", unit="image", disable=None):
        if outcome.fault is not None:
            raise UserError(
                f"the phantom's image {outcome.task['image']}: not drawn: {outcome.fault}"
            )
        yield outcome.facts["dense_share"]


def labels_table(images: list[PlannedImage]) -> pd.DataFrame:
    """Tabulate the plan: image_path, patient_id, laterality, view, density."""
    rows = [(i.path, i.patient_id, i.laterality, i.view, i.density) for i in images]
    columns = ["image_path", "patient_id", "laterality", "view", "density"]
    return pd.DataFrame(rows, columns=columns)


def write_empty(folder: Path) -> Drawn:
    """Leave an empty folder where the phantom would be: the data set is another one."""
    with whole_folder(folder):
        pass
    return Drawn(pd.DataFrame(columns=TRUTH_COLUMNS), {})


def truth_table(images: list[PlannedImage], shares: list[float]) -> pd.DataFrame:
    """Tabulate what was drawn: the dense share of each image, and the class that it lies in."""
    rows = [(i.path, share, true_class(share)) for i, share in zip(images, shares, strict=True)]
    return pd.DataFrame(rows, columns=TRUTH_COLUMNS)


def ceiling(labels: pd.Series, truth: pd.Series) -> dict[str, Any]:
    """Measure an observer who knows the true share and answers its class, over all images.

    Args:
        labels: The reader's class of each image.
        truth: The class of its true share, in the same order.

    Returns:
        Agreement, and how many images of each label (outer) are of which true class (inner).
    """
    classes = list(CLASSES)
    counts = confusion_matrix(labels, truth, labels=classes)
    return {
        "images": len(labels),
        "accuracy": float(f"{accuracy_score(labels, truth):.9g}"),
        "kappa": _agreement(labels, truth, None),
        "kappa_quadratic": _agreement(labels, truth, "quadratic"),
        "true_classes_by_label": {
            label: dict(zip(classes, map(int, row), strict=True))
            for label, row in zip(classes, counts, strict=True)
        },
    }


def _agreement(labels: pd.Series, truth: pd.Series, weights: str | None) -> float:
    if (labels == truth).all():
        return 1.0  # of one class alone kappa would be 0 / 0
    kappa = cohen_kappa_score(labels, truth, labels=list(CLASSES), weights=weights)
    return float(f"{kappa:.9g}")
