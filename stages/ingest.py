"""Believe nothing unchecked: label table and image files -> the tables of accepted images.

Reads `dataset.root` and `dataset.table` (headers and stream markers, no pixel is decoded); writes
data/{files,images,labels,groups,quarantine}.csv and metrics/ingest.json.
"""

import logging
from pathlib import Path

from mammo import paths
from mammo.datasets.params import DatasetParams
from mammo.dicom.params import Limits
from mammo.ingest.acceptance import ingest
from mammo.ingest.keys import PUBLIC
from mammo.ingest.params import IngestParams
from mammo.ingest.summary import format_summary, thin_classes
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.storage.cells import neutralised
from mammo.storage.files import write_json, write_table
from mammo.storage.outside import require_noted

logger = logging.getLogger("ingest")


def main() -> None:
    """Run the stage."""
    dataset = load_params("dataset", DatasetParams)
    if dataset.key_file not in (None, PUBLIC):
        require_noted("dataset.key_file", Path(dataset.key_file))
    ingested = ingest(
        dataset,
        load_params("ingest", IngestParams),
        load_params("dicom", Limits),
    )
    write_table(ingested.files, paths.FILES)
    write_table(ingested.images, paths.IMAGES)
    write_table(ingested.labels, paths.LABELS)
    write_table(ingested.groups, paths.GROUPS)
    write_table(neutralised(ingested.quarantine), paths.QUARANTINE)
    write_json(ingested.metrics, paths.INGEST_METRICS)
    logger.info(format_summary(ingested.metrics, ingested.quarantine))
    for warning in thin_classes(ingested.metrics):
        logger.warning(warning)


if __name__ == "__main__":
    run_stage(main)
