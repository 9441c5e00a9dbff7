"""Believe nothing unchecked: label table and image files -> the tables of accepted images.

Reads `dataset.root` and `dataset.table` (headers and stream markers, no pixel is decoded); writes
data/files.csv, data/images.csv, data/labels.csv, data/quarantine.csv and metrics/ingest.json.
"""

import logging

from mammo import paths
from mammo.datasets import DatasetParams
from mammo.dicom import Limits
from mammo.files import write_json, write_table
from mammo.ingest import IngestParams, ingest
from mammo.ingest_summary import format_summary
from mammo.params import load_params
from mammo.stage import run_stage

logger = logging.getLogger("ingest")


def main() -> None:
    """Run the stage."""
    ingested = ingest(
        load_params("dataset", DatasetParams),
        load_params("ingest", IngestParams),
        load_params("dicom", Limits),
    )
    write_table(ingested.files, paths.FILES)
    write_table(ingested.images, paths.IMAGES)
    write_table(ingested.labels, paths.LABELS)
    write_table(ingested.quarantine, paths.QUARANTINE)
    write_json(ingested.metrics, paths.INGEST_METRICS)
    logger.info(format_summary(ingested.metrics, ingested.quarantine))


if __name__ == "__main__":
    run_stage(main)
