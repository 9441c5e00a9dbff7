"""Decode every accepted file into a tensor.

Reads data/files.csv and the images under dataset.root; writes data/tensors/,
data/quarantine_pixels.csv and metrics/preprocess.json.
"""

from pathlib import Path

from mammo import paths
from mammo.dicom.params import Limits
from mammo.params import load_leaf, load_params
from mammo.preprocess.dataset import decode_files
from mammo.preprocess.params import PreprocessParams
from mammo.stage import run_stage
from mammo.storage.cells import neutralised
from mammo.storage.files import read_table, whole_folder, write_json, write_table
from mammo.storage.scratch import Store


def main() -> None:
    """Run the stage."""
    params = load_params("preprocess", PreprocessParams)
    limits = load_params("dicom", Limits)
    root = Path(load_leaf("dataset.root", str))
    store = Store(paths.SCRATCH / "images")
    with whole_folder(paths.TENSORS) as folder:
        result = decode_files(read_table(paths.FILES), root, params, limits, store, folder)
    write_table(neutralised(result.quarantine), paths.QUARANTINE_PIXELS)
    write_json(result.metrics, paths.PREPROCESS_METRICS)


if __name__ == "__main__":
    run_stage(main)
