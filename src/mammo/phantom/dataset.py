"""Write the synthetic dataset: a DICOM file for each image of its plan, and labels.csv."""

from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from mammo.phantom.dicom_writer import write_image
from mammo.phantom.params import PhantomParams
from mammo.phantom.plan import PlannedImage, plan_images
from mammo.storage.files import whole_folder, write_table


def write_phantom(folder: Path, params: PhantomParams, workers: int = 1) -> None:
    """Write `labels.csv` and the DICOM files below `folder`, whole or not at all.

    The files don't depend on `workers`, and none but labels.csv says a density.
    """
    images = plan_images(params)
    with whole_folder(folder) as partial:
        for image in images:
            (partial / image.path).parent.mkdir(parents=True, exist_ok=True)
        jobs = (delayed(write_image)(image, partial, params) for image in images)
        done = Parallel(n_jobs=workers, return_as="generator")(jobs)
        for _ in tqdm(done, total=len(images), desc="phantom", unit="image"):
            pass
        write_table(labels_table(images), partial / "labels.csv")


def labels_table(images: list[PlannedImage]) -> pd.DataFrame:
    """Tabulate the plan: image_path, patient_id, laterality, view, density."""
    rows = [(i.path, i.patient_id, i.laterality, i.view, i.density) for i in images]
    columns = ["image_path", "patient_id", "laterality", "view", "density"]
    return pd.DataFrame(rows, columns=columns)
