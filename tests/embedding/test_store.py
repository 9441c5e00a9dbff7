"""What crosses the cut: views, the plan, pooled features, and that all paths agree."""

import numpy as np
import pytest
import torch

from mammo.embedding import embedder, store
from mammo.embedding.augment import Augmentation
from mammo.embedding.embedder import Embedder
from mammo.embedding.features import open_features
from mammo.embedding.grey import GREY_NAMES, open_grey, read_grey
from mammo.embedding.plan import plan
from mammo.embedding.sources import FreshViews, StoredViews
from mammo.embedding.store import EmbeddingParams, store_embeddings
from mammo.errors import UserError
from mammo.network.network import block_widths
from mammo.network.params import BLOCK_NAMES, BackboneParams
from mammo.network.strategies import fold_batchnorm
from mammo.storage.files import read_json
from mammo.storage.tensors import Tensors
from support.trainings import (
    AUGMENT,
    BACKBONE,
    BLOCKS,
    COMPUTE,
    CPU,
    EMBED,
    SIZE,
    STRATEGY,
    network_of,
    stored_folder,
    write_data,
)


@pytest.fixture(scope="module")
def backbone():
    return BackboneParams(**BACKBONE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone):
    return write_data(tmp_path_factory.mktemp("data"), backbone)


def breast():
    image = np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32)
    image[:, SIZE // 2 :] = 0
    return image


def test_views_depend_on_seed_key_and_number_alone():
    augmentation, image = Augmentation(AUGMENT), breast()
    first = augmentation.view(image, "a", 1)
    assert not np.array_equal(first, augmentation.view(image, "a", 2))
    assert not np.array_equal(first, augmentation.view(image, "b", 1))
    assert np.array_equal(first, Augmentation(AUGMENT).view(image, "a", 1))
    assert np.array_equal(image, augmentation.view(image, "a", 0))
    other = Augmentation(AUGMENT.model_copy(update={"seed": 1}))
    assert not np.array_equal(first, other.view(image, "a", 1))


def test_the_background_stays_black_whatever_the_exposure():
    still = dict(vertical_flip=0, rotate_deg=0, scale=0, translate=0, brightness=0.5)
    augmentation, image = Augmentation(AUGMENT.model_copy(update=still)), breast()
    views = [augmentation.view(image, "a", view) for view in range(1, 9)]
    assert all((view[image == 0] == 0).all() for view in views)
    assert max(np.abs(view - image).max() for view in views) > 0.2  # exposure does vary


def test_a_view_keeps_the_aspect_ratio():
    square = np.zeros((64, 64), np.float32)
    square[16:48, 16:48] = 1
    still = dict(vertical_flip=0, rotate_deg=0, scale=0.4, translate=0, brightness=0, contrast=0)
    augmentation = Augmentation(AUGMENT.model_copy(update={**still, "gamma": 0}))
    sides = []
    for view in range(1, 9):
        seen = augmentation.view(square, "a", view) > 0.5
        rows, columns = seen.any(axis=1).sum(), seen.any(axis=0).sum()
        assert abs(int(rows) - int(columns)) <= 1
        sides.append(rows)
    assert max(sides) - min(sides) > 6


def test_an_image_drawn_several_times_is_seen_in_several_ways(folder, backbone):
    source = FreshViews(
        Tensors(folder / "tensors"), network_of(folder, backbone, BLOCKS).prefix, torch.float32,
        Augmentation(AUGMENT),
    )  # fmt: skip
    images, _ = source.train_batch(np.array([3, 3, 3]), np.array([0, 1, 0]))
    assert not np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], images[2])


@pytest.mark.parametrize(
    ("trained", "changes", "stored", "reason"),
    [
        (0, {}, True, "nothing but the head trains"),
        (BLOCKS, {}, False, "nothing is frozen"),
        (0, {"views": 0}, False, "embed.views is 0"),
        (1, {"min_gain": 1}, True, "views of every image"),
        (1, {"min_gain": 1, "budget_gb": 1e-6}, False, "exceed embed.budget_gb"),
        (17, {}, False, "would gain only"),
        (17, {"store": "always"}, True, "embed.store is always"),
        (1, {"store": "never"}, False, "embed.store is never"),
    ],
)
def test_storing_is_decided_by_arithmetic(folder, backbone, trained, changes, stored, reason):
    params = EMBED.model_copy(update={"store": "auto", **changes})
    network = network_of(folder, backbone, trained)
    decision = plan(network, block_widths(backbone), 64, 400, params)
    assert decision.stored is stored
    assert reason in decision.reason
    if trained == 1:  # the last block of MobileNetV2 reads 320 channels of 2 x 2 at 64 px
        assert decision.total_bytes == 400 * 3 * 320 * 2 * 2 * 2


@pytest.mark.slow
def test_every_strategy_stores_pooled_features_of_every_block(folder, backbone):
    widths = block_widths(backbone)
    for trained in (0, 2, BLOCKS):
        stored = stored_folder(folder, backbone, trained)
        pooled = Tensors(stored / "pooled")
        assert pooled.shape == (3, sum(widths.values()))
        assert read_json(stored / "plan.json")["blocks"] == widths
        assert (stored / "cut").exists() == (trained == 2)
    assert list(widths) == list(BLOCK_NAMES["mobilenet_v2"])


@pytest.mark.slow
def test_pooled_features_are_those_of_the_prefix_of_any_cut(folder, backbone):
    """Clean view: entry 0 of what is stored is what each frozen block gives, pooled."""
    reads = ("features3", "features16")
    network = network_of(folder, backbone, 2, reads=reads)
    features = open_features(stored_folder(folder, backbone, 0), reads, grey=False)
    _, side = StoredViews(features).clean_batch(np.arange(5))
    images = Tensors(folder / "tensors").gather(np.arange(5)).astype(np.float32) / 255
    pixels = FreshViews(
        Tensors(folder / "tensors"), fold_batchnorm(network.prefix, torch.float32), torch.float32,
        Augmentation(AUGMENT),
    )  # fmt: skip
    crossing = pixels.to_cut((images, np.zeros((5, 0), np.float32)), CPU)
    assert side == pytest.approx(crossing.side.numpy(), rel=1e-4, abs=1e-5)
    assert crossing.activations is not None


def test_a_second_strategy_takes_pooled_features_from_the_scratch_store(folder, backbone):
    stored_folder(folder, backbone, 0)
    (kept,) = (folder / "scratch").iterdir()
    before = sorted(path.stat().st_mtime_ns for path in kept.rglob("*.npy"))
    one = stored_folder(folder, backbone, 0, "inner")
    assert sorted(path.stat().st_mtime_ns for path in kept.rglob("*.npy")) == before
    other = stored_folder(folder, backbone, 0)
    assert np.array_equal(
        Tensors(one / "pooled").gather(np.arange(48)),
        Tensors(other / "pooled").gather(np.arange(48)),
    )


def embedded(folder, backbone, trained, root, **changes):
    """Embed the images of a folder into another, with a scratch store of its own."""
    strategy = STRATEGY.model_copy(update={"unfreeze_last_blocks": trained})
    embed = EMBED.model_copy(update=changes)
    params = EmbeddingParams(backbone, strategy, AUGMENT, embed, COMPUTE)
    weights, tensors = folder / "backbone.safetensors", folder / "tensors"
    root.mkdir(exist_ok=True)
    (root / "scratch").mkdir(exist_ok=True)
    target = root / f"embeddings-{trained}"
    store_embeddings("mine", params, weights, tensors, target, root / "scratch")
    return target


@pytest.mark.slow
@pytest.mark.parametrize("trained", [1, 2])
def test_the_pass_over_all_blocks_keeps_what_crosses_the_usual_cuts(
    folder, backbone, tmp_path, monkeypatch, trained
):
    embedded(folder, backbone, 0, tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "_batches", None)  # nothing is computed a second time
        kept = embedded(folder, backbone, trained, tmp_path / "first")
    monkeypatch.setattr(store, "_AFTER_USUAL_CUTS", ())
    computed = embedded(folder, backbone, trained, tmp_path / "second")
    files = sorted(file.relative_to(kept) for file in kept.rglob("*") if file.is_file())
    assert [file for file in files if file.parts[0] == "cut"]
    for file in files:
        assert (kept / file).read_bytes() == (computed / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"views": 0}, {"store": "never"}, {"budget_gb": 1e-6}])
def test_no_activations_are_kept_that_no_strategy_would_store(folder, backbone, tmp_path, changes):
    embedded(folder, backbone, 0, tmp_path, **changes)
    (kept,) = (tmp_path / "scratch").iterdir()
    assert [path.name for path in kept.iterdir()] == ["pooled"]


def test_grey_features_are_stored_where_the_head_reads_them(folder, backbone):
    without, beside = (stored_folder(folder, backbone, 0, grey=grey) for grey in (False, True))
    every = np.arange(48)
    computed = open_grey(folder / "tensors")(every)
    assert computed.shape == (48, len(GREY_NAMES)) and computed.std(axis=0).max() > 0
    assert np.array_equal(read_grey(beside)(every[::-1]), computed[::-1])
    with pytest.raises(UserError, match="grey"):
        read_grey(without)
    for part in ("pooled/shard-00000.npy", "plan.json"):
        assert (without / part).read_bytes() == (beside / part).read_bytes()


@pytest.mark.slow
def test_activations_beyond_half_precision_fail_the_strategy_that_needs_them_alone(
    folder, backbone, tmp_path, monkeypatch
):
    monkeypatch.setattr(embedder, "_half", lambda out: torch.full_like(out, torch.inf).half())
    embedded(folder, backbone, 0, tmp_path)
    (kept,) = (tmp_path / "scratch").iterdir()
    assert [path.name for path in kept.iterdir()] == ["pooled"]
    with pytest.raises(FloatingPointError, match="half precision"):
        embedded(folder, backbone, 1, tmp_path)
