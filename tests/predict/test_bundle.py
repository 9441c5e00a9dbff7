"""The bundle as a folder."""

import json

import numpy as np
import pytest
import torch

from mammo.errors import UserError
from mammo.evaluation.inference import predict_cases, predict_from_pixels
from mammo.predict.answers import answer
from mammo.predict.bundle import read_bundle
from mammo.predict.export import about
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


@pytest.fixture
def tensors(tmp_path):
    folder = tmp_path / "tensors"
    folder.mkdir()
    random = np.random.default_rng(0)
    images = [random.integers(0, 40 * n + 20, (SIZE, SIZE), dtype=np.uint8) for n in range(6)]
    write_shards(iter(images), [f"k{n}" for n in range(6)], folder, 10**6)
    return Tensors(folder)


@pytest.mark.parametrize(("kind", "at"), [("ordinal", 9), ("multinomial", 9), ("ordinal", 7)])
def test_a_reopened_network_answers_as_before_to_the_bit(tmp_path, tensors, kind, at):
    model = make_model(tmp_path / "weights", kind, at)
    opened = write_bundle(tmp_path / "bundle", model)
    before, after = (
        predict_from_pixels(
            m.network, tensors, tensors.keys, opened.evaluate, devices(), torch.float32
        )
        for m in (model, opened.members[0])
    )
    assert (before == after).all()
    assert np.ptp(before, axis=0).max() > 1e-3  # images are told apart


def test_the_sections_come_back_as_they_were(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    assert bundle.preprocess.model_dump(mode="json") == sections()["preprocess"]
    assert bundle.classes == ["A", "B", "C", "D"] and bundle.rule == "argmax"


def test_a_model_json_without_all_entries_is_refused(tmp_path):
    write_bundle(tmp_path / "bundle")
    path = tmp_path / "bundle" / "model.json"
    facts = json.loads(path.read_text())
    for name in ("content_sha256", "files", "conformal"):  # an older one goes without the first
        del facts[name]
    path.write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"model\.json: lacks conformal, files; fetch"):
        read_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("format_", [2, None, "1"])
def test_an_unknown_format_is_refused(tmp_path, format_):
    write_bundle(tmp_path / "bundle")
    path = tmp_path / "bundle" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": format_}))
    with pytest.raises(UserError, match=r"model.json: format must be 1, got"):
        read_bundle(tmp_path / "bundle")


def test_a_changed_file_is_refused(tmp_path):
    write_bundle(tmp_path / "bundle")
    path = tmp_path / "bundle" / "probe.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"probe.safetensors: SHA-256 must be"):
        read_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("old", "new"), [('"temperature": 1.5', '"temperature": 3'), ('"decision"', '"decison"')]
)
def test_a_changed_model_json_is_refused(tmp_path, old, new):
    write_bundle(tmp_path / "bundle")
    path = tmp_path / "bundle" / "model.json"
    written = path.read_text()
    path.write_text(json.dumps(json.loads(written), indent=4))  # the same content
    read_bundle(tmp_path / "bundle")
    path.write_text(written.replace(old, new))
    with pytest.raises(UserError, match=r"model.json: was changed: .*fetch the bundle again"):
        read_bundle(tmp_path / "bundle")


def test_a_missing_file_and_a_folder_that_is_no_bundle_are_named(tmp_path):
    with pytest.raises(UserError, match=r"model.json: not found"):
        read_bundle(tmp_path)
    write_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "training-features.safetensors").unlink()
    with pytest.raises(UserError, match=r"training-features\.safetensors: the bundle lacks"):
        read_bundle(tmp_path / "bundle")


def test_two_bundles_differ_in_their_id(tmp_path):
    model = make_model(tmp_path / "weights")
    one, two = (
        write_bundle(tmp_path / name, model, decision=rule)
        for name, rule in (("a", "argmax"), ("b", "median"))
    )
    assert one.id != two.id and len(one.id) == 64


@pytest.mark.slow
def test_an_ensemble_holds_a_whole_network_of_each_member_and_answers_with_their_mean(tmp_path):
    bundle = write_ensemble(tmp_path / "bundle")
    assert {p.stem for p in (tmp_path / "bundle").glob("*.safetensors")} == {
        "probe", "last_two", "training-features",
    }  # fmt: skip
    keys = write_images(tmp_path / "images")
    found = answer(bundle, tmp_path / "images", keys, devices()).probabilities
    one, other = (
        bundle.answering(n).assume(
            predict_cases(
                model, tmp_path / "images", keys, bundle.evaluate, bundle.compute, devices()
            )
        )
        for n, model in enumerate(bundle.members)
    )
    assert np.abs(one - other).max() > 0.05  # the members differ
    np.testing.assert_allclose(found, (one + other) / 2, atol=1e-7)


def test_the_scheduler_of_the_machine_that_made_a_bundle_is_not_asked(tmp_path):
    params = sections()
    params["preprocess"]["scheduler"] = "tcp://elsewhere:8786"
    bundle = write_bundle(tmp_path / "bundle", params=params)
    assert bundle.preprocess.scheduler is None
    assert bundle.facts["params"]["preprocess"]["scheduler"] == "tcp://elsewhere:8786"
    assert about(bundle)["preprocess"]["scheduler"] is None  # nor told to whom an export goes


@pytest.mark.parametrize(("made_on", "opened"), [("cuda", "auto"), ("mps", "auto"), ("cpu", "cpu")])
def test_a_bundle_made_on_an_accelerator_opens_where_there_is_none(tmp_path, made_on, opened):
    params = sections()
    params["compute"]["accelerator"] = made_on
    assert write_bundle(tmp_path / "bundle", params=params).compute.accelerator == opened
