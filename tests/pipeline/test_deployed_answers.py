"""The bundle against `evaluate`: the same images, the same answers, by one network or several."""

import json

import numpy as np
import pandas as pd
import pytest

from mammo import paths
from mammo.evaluation.inference import predict_cases
from mammo.evaluation.model import load_model
from mammo.evaluation.params import EvaluateParams
from mammo.network.devices import start
from mammo.network.params import BackboneParams, ComputeParams
from mammo.params import load_params

pytestmark = pytest.mark.slow

CLASSES = "ABCD"
MEMBERS = ["probe", "last_block"]
PREDICTED = [f"probability_{name}" for name in CLASSES]
TOLERANCE = 1e-3  # files come in another order than keys, which moves the last digits


@pytest.fixture(scope="module")
def pipeline(finished, tmp_path_factory):
    return finished.duplicate(tmp_path_factory.mktemp("deployed") / "copy")


@pytest.fixture(scope="module")
def ensemble(finished, tmp_path_factory):
    copy = finished.duplicate(tmp_path_factory.mktemp("ensemble") / "copy")
    copy.set_params({"strategy": "ensemble", "ensemble.strategies": MEMBERS})
    copy.ran = copy.repro("report", "bundle", "review")
    return copy


def predict(copy, *options):
    """Run the command on the images of test, as files; return its table by key."""
    files = pd.read_csv(copy.folder / "data/files.csv", dtype=str)
    splits = pd.read_csv(copy.folder / "data/splits.csv", dtype=str)
    rows = files.merge(splits[splits["split"] == "test"], on="key")
    table = rows.rename(columns={"path": "image_path"})[["image_path"]]
    table.to_csv(copy.folder / "new.csv", index=False)
    command = ("python", "-m", "mammo.predict", "predict", "new.csv", "--root",
               "data/phantom", "--out", "out")  # fmt: skip
    copy.run("env", "PYTHONPATH=src", *command, *options)
    found = pd.read_csv(copy.folder / "out/predictions.csv")
    keys = dict(zip(rows["path"], rows["key"], strict=True))
    return found.set_index(found["file"].map(keys)).sort_index()


def written(copy, arm, split="test"):
    path = copy.folder / f"plots/evaluation/{arm}/predictions.csv"
    table = pd.read_csv(path, dtype={"key": str}).set_index("key").sort_index()
    return table[table["split"] == split]


def assert_same(found, expected):
    assert list(found.index) == list(expected.index)
    np.testing.assert_allclose(found[PREDICTED], expected[PREDICTED], atol=TOLERANCE)
    assert list(found["answer"]) == list(expected["prediction"])
    assert found["answer"].nunique() > 1


def test_a_strategy_answers_files_as_evaluate_wrote_down(pipeline):
    assert_same(predict(pipeline), written(pipeline, "probe"))


def test_val_is_answered_by_a_head_that_has_not_seen_it(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline.folder)
    evaluate = load_params("evaluate", EvaluateParams)
    compute = load_params("compute", ComputeParams)
    backbone = load_params("backbone", BackboneParams)
    for split, file in (("val", paths.TRAIN_ONLY_MODEL), ("test", paths.BEST_MODEL)):
        path = paths.MODELS / "probe" / file
        model = load_model(path, paths.BACKBONE, backbone)
        expected = written(pipeline, "probe", split)
        keys = list(expected.index)
        found = predict_cases(model, paths.TENSORS, keys, evaluate, compute, start(compute))
        np.testing.assert_allclose(found, expected[PREDICTED], atol=1e-5)


def test_an_ensemble_answers_files_as_its_stage_wrote_down(ensemble):
    found = predict(ensemble, "--explain")
    assert_same(found, written(ensemble, "ensemble"))
    one, other = (written(ensemble, arm)[PREDICTED] for arm in MEMBERS)
    np.testing.assert_allclose(found[PREDICTED], (one + other) / 2, atol=TOLERANCE)
    page = (ensemble.folder / "out/maps/index.html").read_text()
    assert "maps (probe, last_block)" in page and "Grad-CAM" in page


def test_an_ensembles_bundle_stands_alone_and_states_the_means_figures(ensemble):
    assert ensemble.ran == ["check", "ensemble", "report", "bundle", "review"]
    bundle = ensemble.folder / "bundle"
    model = json.loads((bundle / "model.json").read_text())
    assert [member["strategy"] for member in model["members"]] == MEMBERS
    assert set(model["files"]) >= {f"{name}.safetensors" for name in MEMBERS}
    metrics = json.loads((ensemble.folder / "metrics/evaluate/ensemble.json").read_text())
    assert model["decision"] == metrics["decision"]
    assert model["figures"]["image"]["accuracy"]["value"] == pytest.approx(metrics["accuracy"])
    assert model["conformal"]["scores_from"].startswith("val")  # a member trained a block
    assert "Networks: `probe`" in (bundle / "MODEL_CARD.md").read_text()
    page = (ensemble.folder / "data/review/index.html").read_text()
    assert "probe, last_block" in page


def test_another_members_change_makes_the_ensembles_bundle_anew(ensemble):
    ensemble.set_params({"strategies.head_only.lr": 0.01})  # no member
    ensemble.repro("train@head_only")
    assert not {"ensemble", "bundle", "review"} & set(ensemble.repro("bundle", "review"))
    ensemble.set_params({"ensemble.strategies": ["probe", "head_only"]})
    assert ensemble.repro("bundle") == ["check", "ensemble", "bundle"]
    scores = json.loads((ensemble.folder / "bundle/model.json").read_text())["conformal"]
    assert scores["scores_from"].startswith("cross-fitted")
