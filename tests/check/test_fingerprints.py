"""A change of what shapes the answers shows in the digest of the parameters."""

import pytest

from mammo.check.fingerprints import note_parameters
from mammo.storage.files import read_json
from support.params import change

SHAPES_ONE = ["strategies.full.lr"]


SHAPES_ALL = [
    "train.seed", "phantom.seed", "evaluate.patient", "compute.threads", "loss.name", "embed.views",
    "ingest.workers", "dicom.max_pixels",
]  # fmt: skip


SHAPES_NONE = ["compare.draws", "review.picture_px", "sheet.thumbnail_px", "bundle.coverage"]


@pytest.mark.parametrize("key", [*SHAPES_ONE, *SHAPES_ALL, *SHAPES_NONE])
def test_parameters_are_named_anew_where_they_shape_the_answers(values, tmp_path, key):
    note_parameters(values, tmp_path / "before")
    change(values, key, "another")
    note_parameters(values, tmp_path / "after")
    before, after = (
        {name: read_json(tmp_path / when / f"{name}.json") for name in values["strategies"]}
        for when in ("before", "after")
    )
    changed = {name for name in before if before[name] != after[name]}
    assert changed == (set(before) if key in SHAPES_ALL else {"full"} & set(key.split(".")))
