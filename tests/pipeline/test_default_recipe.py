"""How well the pipeline as shipped does where nothing but the pipeline can err."""

import shutil

import pytest
import yaml

from mammo.params import read_params
from mammo.storage.files import read_json
from studies.cells.arms import overridden
from studies.cells.workspace import run_stages
from support.pipeline_copy import ROOT


@pytest.mark.slow
def test_labels_without_slips_are_learnt_by_the_reported_strategy(tmp_path):
    """All else as shipped. What kappa lacks with the shipped labels, the labels' slips take."""
    values = overridden(read_params(ROOT / "params.yaml"), ["phantom.reader_kappa=1"], "test")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    shutil.copy(ROOT / values["dataset"]["corrections"], tmp_path)
    name = values["strategy"]
    made = ["check", "phantom", "ingest", "preprocess", "split", "weights"]
    run_stages(tmp_path, [*made, f"embed {name}", f"train {name}", f"evaluate {name}"])
    metrics = read_json(tmp_path / f"metrics/evaluate/{name}.json")
    assert metrics["kappa"] >= 0.8
