"""The bundle as one ONNX file."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from mammo import paths
from mammo.embedding.grey import GREY_NAMES, open_grey
from mammo.errors import UserError
from mammo.predict import export as module
from mammo.predict.answers import answer
from mammo.predict.cli import main
from mammo.predict.export import agreement, export_onnx, run_onnx, whole_answer
from mammo.storage.files import write_table
from mammo.storage.tensors import Tensors, write_shards
from support.bundles import (
    SIZE,
    devices,
    make_model,
    sections,
    write_bundle,
    write_ensemble,
    write_images,
)

onnx = pytest.importorskip("onnx", reason="the extra onnx isn't installed")
pytest.importorskip("onnxruntime", reason="the extra onnx isn't installed")
pytest.importorskip("onnxscript", reason="the extra onnx isn't installed")


@pytest.fixture
def tensors(tmp_path):
    folder = tmp_path / "tensors"
    folder.mkdir()
    random = np.random.default_rng(0)
    images = [random.integers(0, 40 * n + 20, (SIZE, SIZE), dtype=np.uint8) for n in range(6)]
    write_shards(iter(images), [f"k{n}" for n in range(6)], folder, 10**6)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_bundle, write_ensemble])
def test_the_exported_file_answers_as_the_deployed_path(tmp_path, write):
    bundle, tensors = write(tmp_path / "bundle"), tmp_path / "images"
    keys = write_images(tensors)
    export_onnx(bundle, tmp_path / "model.onnx")
    exported = run_onnx(tmp_path / "model.onnx", bundle, tensors, keys)
    deployed = answer(bundle, tensors, keys, devices()).probabilities
    assert np.ptp(deployed, axis=0).max() > 1e-3
    facts = agreement(bundle, exported, deployed)
    assert facts["same_answers"] == 1 and facts["largest_difference"] < 1e-4
    assert sorted(p.name for p in tmp_path.glob("model*")) == ["model.onnx"]  # no data beside it


@pytest.mark.slow
def test_the_file_says_what_its_columns_mean(tmp_path):
    bundle = write_ensemble(tmp_path / "bundle")
    export_onnx(bundle, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert b"whole.py" not in content and b"pkg.torch" not in content  # paths of who exported it
    told = onnx.load_from_string(content).metadata_props
    facts = {entry.key: json.loads(entry.value) for entry in told}
    assert facts["classes"] == ["A", "B", "C", "D"] and facts["decision"] == "argmax"
    assert facts["prior"] == "uniform" and facts["temperature"] == 1.5
    assert facts["patient_rule"] == "denser" and facts["bundle"] == bundle.id
    assert facts["grey"] == list(GREY_NAMES) and facts["preprocess"]["size_px"] == SIZE
    assert facts["normalisation"]["scale"] == 255 and len(facts["normalisation"]["std"]) == 3


@pytest.mark.slow
def test_a_file_that_answers_otherwise_takes_no_place(tmp_path, monkeypatch):
    """One that the deployed path agrees with is asked for more than all of the answers."""
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "bundle")
    keys = write_images(paths.TENSORS)
    write_table(pd.DataFrame({"key": keys, "split": "val"}), paths.SPLITS)
    (tmp_path / "model.onnx").write_bytes(b"an earlier one")
    monkeypatch.setattr(module, "LEAST_AGREEMENT", 1.1)
    with pytest.raises(SystemExit, match=r"at least 110\.0% of the answers"):
        main(["export", "bundle", "--onnx"])
    assert (tmp_path / "model.onnx").read_bytes() == b"an earlier one"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    main(["export", "bundle", "--onnx"])
    assert (tmp_path / "model.onnx").stat().st_size > 10**6
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("val", "size_px", "words"),
    [
        ([], SIZE, r"splits\.csv: no image is in val .* --unchecked"),
        (["k0", "another"], SIZE, r"tensors: lacks 1 of 2 val images .* --unchecked"),
        (["k0"], 32, r"tensors: images must be 32 x 32 uint8, .* got 64 x 64 uint8; .*--unchecked"),
    ],
)
def test_without_the_val_images_that_the_bundle_reads_nothing_is_exported(
    tmp_path, monkeypatch, val, size_px, words
):
    monkeypatch.chdir(tmp_path)
    params = sections()
    params["preprocess"]["size_px"] = size_px
    write_bundle(tmp_path / "bundle", params=params)
    write_images(paths.TENSORS)
    rows = [("k5", "test"), *((key, "val") for key in val)]
    write_table(pd.DataFrame(rows, columns=["key", "split"]), paths.SPLITS)
    with pytest.raises(SystemExit, match=words):
        main(["export", "bundle", "--onnx"])
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("kind", "at", "kernel"),
    [("ordinal", 9, 0), ("multinomial", 9, 0), ("corn", 7, 0), ("ordinal", 9, 8)],
)
def test_what_is_exported_answers_as_the_deployed_path(tmp_path, tensors, kind, at, kernel):
    bundle = write_bundle(tmp_path / "bundle", make_model(tmp_path / "weights", kind, at, kernel))
    keys = [f"k{n}" for n in range(6)]
    images = torch.from_numpy(Tensors(tensors).gather(np.arange(6)))
    with torch.no_grad():
        exported = whole_answer(bundle)(images, torch.zeros(6, 0)).numpy()
    deployed = answer(bundle, tensors, keys, devices()).probabilities
    assert np.ptp(deployed, axis=0).max() > 1e-3
    assert np.abs(exported - deployed).max() < 1e-4


def test_a_member_gets_the_grey_features_that_it_reads_and_no_more(tmp_path):
    bundle, keys = write_ensemble(tmp_path / "bundle"), write_images(tmp_path / "images")
    images = torch.from_numpy(Tensors(tmp_path / "images").gather(np.arange(6)))
    grey = torch.from_numpy(open_grey(tmp_path / "images")(np.arange(6)))
    with torch.no_grad():
        exported = whole_answer(bundle)(images, grey).numpy()
    deployed = answer(bundle, tmp_path / "images", keys, devices()).probabilities
    assert np.abs(exported - deployed).max() < 1e-4


def test_the_prior_that_the_bundle_assumes_is_inside(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    whole = whole_answer(bundle)
    # uniform shares over those of the training: 0.25 / (0.2, 0.3, 0.3, 0.2)
    assert np.allclose(whole.ratios[0].numpy(), [1.25, 0.25 / 0.3, 0.25 / 0.3, 1.25])


def test_answers_that_differ_are_refused_with_both_shares(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    deployed = np.tile([0.7, 0.1, 0.1, 0.1], (100, 1))
    exported = deployed.copy()
    exported[0] = exported[0, ::-1]
    with pytest.raises(UserError, match=r"at least 99\.5% .* got 99\.0% of 100"):
        agreement(bundle, exported, deployed)
    assert agreement(bundle, deployed + 1e-6, deployed)["same_answers"] == 1
