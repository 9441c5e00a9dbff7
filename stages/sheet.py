"""Look at the data: contact sheets of prepared and rejected images -> data/sheet/.

Reads data/{tensors,labels,files,quarantine,quarantine_pixels} and, for the pictures of
what lies on disk, dataset.root.
"""

import logging
from pathlib import Path

import pandas as pd

from mammo import paths
from mammo.dicom.params import Limits
from mammo.pages.params import SheetParams
from mammo.pages.sheet import prepared_groups, rejected_groups, with_thumbnails, write_sheets
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.cells import restored
from mammo.storage.files import read_table, whole_folder
from mammo.storage.tensors import Tensors

logger = logging.getLogger("sheet")


def main() -> None:
    """Run the stage."""
    params = load_params("sheet", SheetParams)
    limits = load_params("dicom", Limits)
    root = Path(load_leaf("dataset.root", str))
    images = read_table(paths.FILES).merge(read_table(paths.LABELS), on="key")
    prepared = prepared_groups(images, Tensors(paths.TENSORS), params)
    tables = [restored(read_table(path)) for path in (paths.QUARANTINE, paths.QUARANTINE_PIXELS)]
    rejected = rejected_groups(pd.concat(tables, ignore_index=True), params)
    with whole_folder(paths.SHEET) as folder:
        write_sheets(
            with_thumbnails(prepared, root, params, limits),
            with_thumbnails(rejected, root, params, limits),
            params.thumbnail_px,
            folder,
        )
    logger.info("look at %s", (paths.SHEET / "index.html").resolve().as_uri())


if __name__ == "__main__":
    run_stage(main)
