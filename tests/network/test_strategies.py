"""Cuts: what trains, what is frozen, and that frozen means frozen."""

import copy

import pytest
import torch
from torch import nn

from mammo.errors import UserError
from mammo.network.backbones import (
    ARCHITECTURES,
    GlobalPool,
    count_parameters,
    make_head,
    pooled_widths,
)
from mammo.network.params import BLOCK_NAMES, CutParams, StrategyParams, cut_position
from mammo.network.strategies import cut, fold_batchnorm
from mammo.params import parse_params

# EfficientNet-Lite0: 4,652,008 (the package's) - 1,281,000 (its classifier) + 5,124; features7 is
# 192 -> 1,152 -> 320 channels: 192 * 1,152 + 9 * 1,152 + 1,152 * 320 + 2 * (2 * 1,152 + 320)
# = 605,440; features8 is 320 * 1,280 + 2 * 1,280 = 412,160.
# The others are torchvision's own counts; ResNet50 by part: conv1+bn1 9,536; layer1 215,808;
# layer2 1,219,584; layer3 7,098,368; layer4 14,964,736; a head of 2048 * 4 + 4 = 8,196.
TRAINABLE = {
    "efficientnet_lite0": {"full": 3_376_132, 2: 1_022_724, 1: 417_284, 0: 5_124},
    "resnet50": {"full": 23_516_228, 2: 22_071_300, 1: 14_972_932, 0: 8_196},
    "efficientnet_b0": {"full": 4_012_672, 2: 1_134_516, 1: 417_284, 0: 5_124},
    "mobilenet_v2": {"full": 2_228_996, 2: 891_204, 1: 417_284, 0: 5_124},
}


def strategy(unfreeze, train_backbone=False):
    return CutParams(train_backbone=train_backbone, unfreeze_last_blocks=unfreeze)


def cut_network(arch, chosen):
    architecture = ARCHITECTURES[arch]
    blocks = architecture.blocks(architecture.build())
    head = make_head(architecture.features, 4, dropout=0.2)
    return cut(blocks, head, cut_position(chosen, len(blocks), "mine"))


@pytest.mark.parametrize("arch", TRAINABLE)
def test_trainable_parameters_are_the_published_counts(arch):
    for unfreeze, expected in TRAINABLE[arch].items():
        chosen = strategy(0, train_backbone=True) if unfreeze == "full" else strategy(unfreeze)
        prefix, suffix = cut_network(arch, chosen)
        assert count_parameters(suffix, trainable_only=True) == expected
        assert count_parameters(prefix, trainable_only=True) == 0


@pytest.mark.parametrize("arch", TRAINABLE)
def test_the_blocks_hold_every_parameter_but_the_classifiers(arch):
    architecture = ARCHITECTURES[arch]
    network = architecture.build()
    in_blocks = {id(p) for b in architecture.blocks(network).values() for p in b.parameters()}
    body = {
        id(p)
        for name, p in network.named_parameters()
        if not name.startswith(architecture.classifier)
    }
    assert in_blocks == body


@pytest.mark.parametrize("arch", TRAINABLE)
def test_a_cut_anywhere_computes_what_the_whole_network_computes(arch):
    architecture = ARCHITECTURES[arch]
    network = architecture.build().eval()
    blocks = architecture.blocks(network)
    classifier = getattr(network, architecture.classifier.rstrip("."))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(x)
        for at in range(len(blocks) + 1):
            prefix, suffix = cut(blocks, classifier, at)
            assert torch.allclose(suffix.eval()(prefix(x)), expected, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_blocks_name_and_pooled_width_is_known(arch):
    architecture = ARCHITECTURES[arch]
    blocks = architecture.blocks(architecture.build().eval())
    assert tuple(blocks) == BLOCK_NAMES[arch]
    x, widths = torch.randn(1, 3, 224, 224), []
    with torch.no_grad():
        for block in blocks.values():
            x = block(x)
            widths.append(GlobalPool()(x).shape[1])
    assert pooled_widths(arch) == tuple(widths)
    assert architecture.features == widths[-1]


def test_the_frozen_prefix_stays_bit_identical_while_the_suffix_trains():
    prefix, suffix = cut_network("mobilenet_v2", strategy(1))
    network = nn.Sequential(prefix, suffix)
    before = copy.deepcopy(prefix.state_dict())
    suffix_before = copy.deepcopy(suffix.state_dict())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()  # the usual call, which moves the BatchNorm statistics of frozen layers
    for _ in range(3):
        nn.functional.cross_entropy(
            network(torch.randn(4, 3, 64, 64)), torch.tensor([0, 1, 2, 3])
        ).backward()
        optimizer.step()
    assert all(torch.equal(before[k], v) for k, v in prefix.state_dict().items())
    moved = [k for k, v in suffix.state_dict().items() if not torch.equal(suffix_before[k], v)]
    assert {k.split(".")[-1] for k in moved} >= {"weight", "bias", "running_mean", "running_var"}


def test_until_release_only_the_head_trains_and_batchnorm_rests():
    _, suffix = cut_network("resnet50", strategy(1))
    suffix.warm_up()
    suffix.train()
    assert count_parameters(suffix, trainable_only=True) == 8_196
    assert not any(m.training for m in suffix.blocks.modules())
    assert suffix.head.training
    suffix.release()
    suffix.train()
    assert count_parameters(suffix, trainable_only=True) == 14_972_932
    assert all(m.training for m in suffix.modules())


@pytest.mark.parametrize("arch", TRAINABLE)
def test_folding_batchnorm_changes_nothing_but_speed(arch):
    prefix, _ = cut_network(arch, strategy(0))
    for module in prefix.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    x = torch.randn(2, 3, 64, 64)
    expected = prefix(x)
    folded = fold_batchnorm(prefix, torch.float32)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert torch.allclose(folded(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert any(isinstance(m, nn.BatchNorm2d) for m in prefix.modules())


def test_more_blocks_than_there_are_is_refused():
    with pytest.raises(UserError, match=r"strategies.mine.unfreeze_last_blocks.*at most 5"):
        cut_network("resnet50", strategy(6))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"warmup_epochs": 3}, "warmup_epochs must be less than epochs"),
        ({"lr": 0}, "lr: .*greater than 0"),
        ({"lr": "1e-05"}, None),
        ({"learning_rate": 1}, "learning_rate: unknown key"),
    ],
)
def test_a_strategys_entry_is_checked(change, complaint):
    entry = dict(train_backbone=False, unfreeze_last_blocks=1, lr=1e-3, epochs=3, warmup_epochs=1)
    if complaint is None:  # DVC writes small numbers so that YAML reads them as text
        read = parse_params("strategies.mine", {**entry, **change}, StrategyParams)
        assert read.lr == 1e-5
        return
    with pytest.raises(UserError, match=complaint):
        parse_params("strategies.mine", {**entry, **change}, StrategyParams)
