"""Maps of where a network looks."""

import numpy as np
import pytest
import torch

from mammo.embedding.grey import GREY_NAMES, open_grey
from mammo.network.inputs import network_input
from mammo.predict.explain import (
    BESIDE_GREY,
    CPU,
    EXACT_CLASS,
    EXACT_ORDINAL,
    GRAD_CAM,
    UPRIGHT,
    explain,
    mean_maps,
    overlay,
    score_terms,
)
from mammo.predict.whole import WholeNetwork
from mammo.storage.tensors import Tensors, unit_range, write_shards
from support.bundles import (
    CLASSES,
    SIZE,
    make_model,
    sections,
    write_bundle,
    write_ensemble,
    write_images,
)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture
def tensors(tmp_path, images):
    folder = tmp_path / "tensors"
    folder.mkdir()
    write_shards(iter(images), ["k0", "k1", "k2"], folder, 10**6)
    return folder


def pictures_of(model, images):
    batch = unit_range(images)
    return network_input(batch, CPU, torch.float32, model.network.prefix.normalisation)


def test_the_terms_of_an_ordinal_score_sum_to_it(tmp_path, images):
    model = make_model(tmp_path, "ordinal")
    whole, pictures = WholeNetwork(model), pictures_of(model, images)
    terms = score_terms(whole, pictures, np.array([0, 1, 2]))
    with torch.no_grad():
        score = whole.head.linear(whole.features(pictures, torch.zeros(3, 0)))[:, 0]
    assert torch.allclose(terms.sum(dim=(1, 2)), score, rtol=1e-3, atol=1e-4)


def test_the_terms_of_the_pixels_and_of_grey_features_sum_to_the_score(tmp_path):
    model = make_model(tmp_path / "weights", grey=len(GREY_NAMES))
    keys = write_images(tmp_path / "images")
    images = Tensors(tmp_path / "images")
    whole, positions = WholeNetwork(model).float(), images.positions(keys)
    pictures = pictures_of(model, images.gather(positions))
    grey = torch.from_numpy(open_grey(tmp_path / "images")(positions))
    terms = score_terms(whole, pictures, np.zeros(len(keys), dtype=np.int64))
    with torch.no_grad():
        score = whole.head.linear(whole.features(pictures, grey))[:, 0]
        rest = grey @ whole.head.linear.weight[0, : whole.grey]
    assert rest.abs().max() > 1e-3
    assert torch.allclose(terms.sum(dim=(1, 2)) + rest, score, rtol=1e-3, atol=1e-4)
    maps = explain(write_bundle(tmp_path / "one", model), tmp_path / "images", keys, ["A"] * 6)
    assert maps.note == EXACT_ORDINAL + BESIDE_GREY + UPRIGHT
    assert np.allclose(maps.values.mean(axis=(1, 2)), 0, atol=1e-6)


def test_the_terms_of_a_class_sum_to_its_logit_over_the_others(tmp_path, images):
    model = make_model(tmp_path, "multinomial")
    whole, pictures = WholeNetwork(model), pictures_of(model, images)
    terms = score_terms(whole, pictures, np.array([3, 3, 1]))
    with torch.no_grad():
        linear = whole.head.linear
        logits = whole(pictures, torch.zeros(3, 0)) - linear.bias
    over = logits - logits.mean(dim=1, keepdim=True)
    expected = over[torch.arange(3), torch.tensor([3, 3, 1])]
    assert torch.allclose(terms.sum(dim=(1, 2)), expected, rtol=1e-3, atol=1e-4)


def test_terms_sum_to_the_score_on_grids_that_do_not_divide_each_other(tmp_path):
    model = make_model(tmp_path, "ordinal")
    odd = np.random.default_rng(1).integers(0, 256, (1, 75, 75), dtype=np.uint8)
    whole, pictures = WholeNetwork(model), pictures_of(model, odd)
    terms = score_terms(whole, pictures, np.array([0]))
    with torch.no_grad():
        score = whole.head.linear(whole.features(pictures, torch.zeros(1, 0)))[:, 0]
    assert torch.allclose(terms.sum(dim=(1, 2)), score, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "note"), [("ordinal", EXACT_ORDINAL), ("multinomial", EXACT_CLASS)]
)
def test_a_linear_head_on_frozen_blocks_is_explained_exactly(tmp_path, tensors, kind, note):
    bundle = write_bundle(tmp_path / "bundle", make_model(tmp_path / "weights", kind))
    maps = explain(bundle, tensors, ["k0", "k2"], ["A", "D"])
    assert maps.note == note + UPRIGHT and maps.values.shape[0] == 2
    assert np.allclose(maps.values.mean(axis=(1, 2)), 0, atol=1e-6)


def test_a_map_of_an_answer_to_the_image_alone_speaks_of_no_other(tmp_path, tensors):
    params = sections()
    params["evaluate"]["test_time_flip"] = False
    bundle = write_bundle(tmp_path / "bundle", params=params)
    assert explain(bundle, tensors, ["k0"], ["A"]).note == EXACT_ORDINAL


@pytest.mark.parametrize(("at", "kernel"), [(7, 0), (9, 8)])
def test_trained_blocks_and_kernels_are_explained_by_grad_cam_and_the_note_says_so(
    tmp_path, tensors, at, kernel
):
    model = make_model(tmp_path / "weights", "ordinal", at, kernel)
    if kernel:
        torch.nn.init.normal_(model.network.suffix.head.kernel.weight, std=0.1)
    bundle = write_bundle(tmp_path / "bundle", model)
    maps = explain(bundle, tensors, ["k0", "k1", "k2"], ["A", "C", "D"])
    assert maps.note == GRAD_CAM + UPRIGHT
    assert maps.values.shape == (3, SIZE, SIZE) and (maps.values >= 0).all()


def test_an_ensemble_shows_the_mean_of_its_members_maps_and_says_so(tmp_path, tensors):
    models = [
        make_model(tmp_path / "weights", name=name, seed=seed)
        for name, seed in (("probe", 1), ("head_only", 2))
    ]
    alone = [
        explain(write_bundle(tmp_path / f"{n}", model), tensors, ["k0", "k2"], ["A", "D"]).values
        for n, model in enumerate(models)
    ]
    bundle = write_bundle(tmp_path / "both", *models, strategy="ensemble")
    maps = explain(bundle, tensors, ["k0", "k2"], ["A", "D"])
    scaled = [values / np.abs(values).max(axis=(1, 2), keepdims=True) for values in alone]
    np.testing.assert_allclose(maps.values, (scaled[0] + scaled[1]) / 2, atol=1e-6)
    assert "mean of the members' maps (probe, head_only)" in maps.note
    assert maps.note.endswith(EXACT_ORDINAL + UPRIGHT)


def test_where_one_member_has_no_exact_map_all_are_explained_by_grad_cam(tmp_path, tensors):
    exact = make_model(tmp_path / "weights")
    trained = make_model(tmp_path / "weights", at=7, name="last_two")
    bundle = write_bundle(tmp_path / "bundle", exact, trained)
    maps = explain(bundle, tensors, ["k0", "k2"], ["A", "D"])
    assert maps.note.endswith(GRAD_CAM + UPRIGHT) and "probe, last_two" in maps.note
    assert maps.values.shape == (2, SIZE, SIZE) and (maps.values >= 0).all()
    assert len(explain(bundle, tensors, [], []).values) == 0


def test_a_member_that_reads_grey_features_is_explained_among_others(tmp_path):
    bundle, keys = write_ensemble(tmp_path / "bundle"), write_images(tmp_path / "images")
    maps = explain(bundle, tmp_path / "images", keys, ["A"] * 6)
    assert maps.note.endswith(GRAD_CAM + UPRIGHT) and maps.values.shape == (6, SIZE, SIZE)


def test_coarser_maps_are_spread_over_the_finest_grid():
    coarse, fine = np.array([[[2.0, 4.0]]]), np.array([[[1.0, 0, 0, -1.0]]])
    np.testing.assert_allclose(mean_maps([coarse, fine]), [[[0.75, 0.25, 0.5, 0]]])


def test_the_whole_network_is_the_one_that_is_cut(tmp_path, images):
    model = make_model(tmp_path, "multinomial", at=7)
    pictures = pictures_of(model, images)
    with torch.no_grad():
        whole = WholeNetwork(model)(pictures, torch.zeros(3, 0))
        cut = model.network.suffix(*model.network.prefix(pictures))
    assert torch.allclose(whole, cut, atol=1e-5) and whole.shape == (3, len(CLASSES))


def test_an_overlay_shows_the_mammogram_beside_its_map():
    tensor = np.full((32, 32), 100, np.uint16) * 256
    picture = overlay(tensor, np.linspace(-1, 1, 16).reshape(4, 4), "B, probability 0.70")
    height, width, _ = picture.shape
    assert width == 2 * 224 and height == 224 + 26
    assert (picture[40:, :224] == 100).all()  # the mammogram, untouched
    assert not (picture[40:, 224:] == picture[40:, 224:, :1]).all()  # the map has colours
