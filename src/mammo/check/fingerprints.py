"""Digests of the parameters that shape the answers, so that figures of other ones show."""

from pathlib import Path
from typing import Any

from mammo.storage.digests import short_digest
from mammo.storage.files import whole_folder, write_json

# What shapes a strategy's answers, besides its own keys.
_SHAPING = (
    "dataset", "phantom", "ingest", "dicom", "preprocess", "split", "backbone", "augment", "embed",
    "head", "train", "balancing", "loss", "collapse", "compute", "evaluate",
)  # fmt: skip


def note_parameters(values: dict[str, Any], folder: Path) -> None:
    """Note under which name each strategy's metrics are found: S.json, `parameters` in each.

    It is a digest of all that shapes the answers, so that figures of other parameters show.

    Args:
        values: Of a sound params.yaml.
        folder: It is replaced.
    """
    shared = [values[section] for section in _SHAPING]
    with whole_folder(folder) as partial:
        for name, strategy in values["strategies"].items():
            write_json({"parameters": short_digest([strategy, *shared])}, partial / f"{name}.json")
