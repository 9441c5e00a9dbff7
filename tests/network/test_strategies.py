"""Cuts: what trains, what is frozen, and that frozen means frozen."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from mammo.errors import UserError
from mammo.network.backbones import (
    GlobalPool,
    count_parameters,
    find_architecture,
)
from mammo.network.head import HeadShape, make_head
from mammo.network.inputs import IMAGENET
from mammo.network.params import (
    BLOCK_NAMES,
    BLOCK_WIDTHS,
    FIXED_SIZE_PX,
    WITHOUT_BATCHNORM,
    CutParams,
    StrategyParams,
    blocks_read,
    cut_position,
)
from mammo.network.strategies import cut, fold_batchnorm
from mammo.params import parse_params

# ResNet50 by part: conv1+bn1 9,536; layer1 215,808; layer2 1,219,584; layer3 7,098,368; layer4
# 14,964,736; a head of 2048 * 4 + 4 = 8,196. EfficientNet-Lite0's features7 is 192 -> 1,152 -> 320
# channels: 192 * 1,152 + 9 * 1,152 + 1,152 * 320 + 2 * (2 * 1,152 + 320) = 605,440; its features8
# 320 * 1,280 + 2 * 1,280 = 412,160, as in EfficientNet-B0 and MobileNetV2.
# RegNetY-400MF by part: stem 928; block1 10,040; block2 102,296; block3 737,438; block4 3,052,442;
# a head of 440 * 4 + 4 = 1,764. From v to w channels, with s = v / 4 of squeeze and excitation, a
# block has v * w + 9 * 8 * w + w^2 of convolutions (groups of 8), 6 w of BatchNorm and 2 s * w +
# s + w; the first of a stage a projection of v * w + 2 w too. block3: 114,218 (104 -> 208) + 5 *
# 124,644 (208 -> 208); block4: 458,092 (208 -> 440) + 5 * 518,870 (440 -> 440).
# Swin-T by part: stem 4,896; stages 224,694; 966,252; 10,955,400; 15,368,112; a head of 768 * 4 + 4
# = 3,076. A layer of C channels and h heads has 12 C^2 + 13 C + 169 h: attention 4 C^2 + 4 C and a
# bias for each head and each of 13 * 13 shifts in a window of 7 * 7; 1:4:1 of 8 C^2 + 5 C; norms of
# 4 C. Stage 3: a merge of 2 * 768 + 768 * 384 = 296,448 + 6 * 1,776,492 (C 384, h 12); stage 4: 2 *
# 1,536 + 1,536 * 768 = 1,182,720 + 2 * 7,091,928 (C 768, h 24) + a last norm of 2 * 768.
TRAINABLE = {
    "efficientnet_lite0": {"full": 3_376_132, 2: 1_022_724, 1: 417_284, 0: 5_124},
    "resnet50": {"full": 23_516_228, 2: 22_071_300, 1: 14_972_932, 0: 8_196},
    "efficientnet_b0": {"full": 4_012_672, 2: 1_134_516, 1: 417_284, 0: 5_124},
    "mobilenet_v2": {"full": 2_228_996, 2: 891_204, 1: 417_284, 0: 5_124},
    "regnet_y_400mf": {"full": 3_904_908, 2: 3_791_644, 1: 3_054_206, 0: 1_764},
    "swin_t": {"full": 27_522_430, 2: 26_326_588, 1: 15_371_188, 0: 3_076},
}

# All parameters with ImageNet's classifier (torchvision's documentation, `meta["num_params"]`; of
# the Lites the packages'), those of the classifier, those of the last block.
PUBLISHED = {
    "efficientnet_lite0": (4_652_008, 1280 * 1000 + 1000, 320 * 1280 + 2 * 1280),
    "efficientnet_lite1": (5_416_680, 1280 * 1000 + 1000, 320 * 1280 + 2 * 1280),
    "efficientnet_lite2": (6_092_072, 1280 * 1000 + 1000, 352 * 1280 + 2 * 1280),
    "resnet18": (  # four 3x3 convolutions, one 1x1, five BatchNorms
        11_689_512, 512 * 1000 + 1000, 9 * 512 * (256 + 3 * 512) + 256 * 512 + 5 * 2 * 512,
    ),
    "resnet34": (
        21_797_672, 512 * 1000 + 1000, 9 * 512 * (256 + 5 * 512) + 256 * 512 + 7 * 2 * 512,
    ),
    "resnet50": (25_557_032, 2048 * 1000 + 1000, 14_964_736),
    "densenet121": (  # transition 512 x 1024; 16 layers of 1x1 to 128 and 3x3 to 32; norm5
        7_978_856, 1024 * 1000 + 1000,
        2 * 1024 + 1024 * 512
        + sum(2 * c + 128 * c + 2 * 128 + 9 * 128 * 32 for c in range(512, 1024, 32)) + 2 * 1024,
    ),
    "efficientnet_b0": (5_288_548, 1280 * 1000 + 1000, 320 * 1280 + 2 * 1280),
    "efficientnet_b1": (7_794_184, 1280 * 1000 + 1000, 320 * 1280 + 2 * 1280),
    "efficientnet_b2": (9_109_994, 1408 * 1000 + 1000, 352 * 1408 + 2 * 1408),
    "efficientnet_b3": (12_233_232, 1536 * 1000 + 1000, 384 * 1536 + 2 * 1536),
    "efficientnet_v2_s": (21_458_488, 1280 * 1000 + 1000, 256 * 1280 + 2 * 1280),
    "mobilenet_v2": (3_504_872, 1280 * 1000 + 1000, 320 * 1280 + 2 * 1280),
    "mobilenet_v3_large": (
        5_483_032, 960 * 1280 + 1280 + 1280 * 1000 + 1000, 160 * 960 + 2 * 960,
    ),
    "convnext_tiny": (  # norm, 2x2 convolution; three of depthwise 7x7, norm, 1:4:1, scale; norm
        28_589_128, 768 * 1000 + 1000,
        2 * 384 + 4 * 384 * 768 + 768
        + 3 * (50 * 768 + 2 * 768 + 768 * 3072 + 3072 + 3072 * 768 + 768 + 768) + 2 * 768,
    ),
    "regnet_y_400mf": (  # projection, 208 -> 440 and 52 of squeeze; five of 440 -> 440 and 110
        4_344_144, 440 * 1000 + 1000,
        208 * 440 + 2 * 440
        + 208 * 440 + 72 * 440 + 440**2 + 6 * 440 + 2 * 52 * 440 + 52 + 440
        + 5 * (440**2 + 72 * 440 + 440**2 + 6 * 440 + 2 * 110 * 440 + 110 + 440),
    ),
    "swin_t": (  # merge; two of attention, bias of 13x13 shifts by 24 heads, 1:4:1, norms; norm
        28_288_354, 768 * 1000 + 1000,
        2 * 1536 + 1536 * 768 + 2 * (12 * 768**2 + 13 * 768 + 13 * 13 * 24) + 2 * 768,
    ),
    "vit_b_16": (  # attention 4 C^2 + 4 C, 1:4:1, two norms; the last norm
        86_567_656, 768 * 1000 + 1000, 4 * 768**2 + 4 * 768 + 8 * 768**2 + 5 * 768 + 6 * 768,
    ),
}  # fmt: skip

RUNNING = [  # a ViT is slow to build and to run
    pytest.param(arch, marks=pytest.mark.slow if arch == "vit_b_16" else ()) for arch in BLOCK_NAMES
]


def strategy(unfreeze, train_backbone=False):
    return CutParams(
        train_backbone=train_backbone, unfreeze_last_blocks=unfreeze, features="last", grey=False
    )


def cut_network(arch, chosen):
    architecture = find_architecture(arch)
    blocks = architecture.blocks(architecture.build())
    head = make_head(
        HeadShape("multinomial", BLOCK_WIDTHS[arch][BLOCK_NAMES[arch][-1]], 4), dropout=0.2
    )
    at = cut_position(chosen, len(blocks), "mine")
    return cut(blocks, head, at, reads=BLOCK_NAMES[arch][-1:], normalisation=IMAGENET)


def through(prefix, suffix, x):
    return suffix(*prefix(x))


def batchnorms(module):
    return sum(isinstance(each, nn.BatchNorm2d) for each in module.modules())


@pytest.mark.parametrize("arch", TRAINABLE)
def test_trainable_parameters_are_the_published_counts(arch):
    for unfreeze, expected in TRAINABLE[arch].items():
        chosen = strategy(0, train_backbone=True) if unfreeze == "full" else strategy(unfreeze)
        prefix, suffix = cut_network(arch, chosen)
        assert count_parameters(suffix, trainable_only=True) == expected
        assert count_parameters(prefix, trainable_only=True) == 0


@pytest.mark.parametrize("arch", BLOCK_NAMES)
def test_published_counts_and_widths_are_ours(arch):
    total, classifier, last = PUBLISHED[arch]
    architecture = find_architecture(arch)
    network = architecture.without_values()
    blocks = list(architecture.blocks(network).values())
    assert count_parameters(network) == total
    assert sum(count_parameters(block) for block in blocks) == total - classifier
    assert count_parameters(blocks[-1]) == last
    widths, x = [], torch.empty(1, 3, 224, 224, device="meta")
    with torch.no_grad():
        for block in architecture.blocks(network.eval()).values():
            x = block(x)
            widths.append(GlobalPool()(x).shape[1])
    assert tuple(widths) == tuple(BLOCK_WIDTHS[arch].values())
    normalised = any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert normalised == (arch not in WITHOUT_BATCHNORM)


@pytest.mark.parametrize("arch", BLOCK_NAMES)
def test_every_parameter_but_the_classifiers_is_in_exactly_one_block(arch):
    architecture = find_architecture(arch)
    network = architecture.without_values()
    blocks = architecture.blocks(network)
    assert tuple(blocks) == BLOCK_NAMES[arch]
    in_blocks = [id(p) for block in blocks.values() for p in block.parameters()]
    assert len(in_blocks) == len(set(in_blocks))
    body = {
        id(p)
        for name, p in network.named_parameters()
        if not name.startswith(architecture.classifier)
    }
    assert set(in_blocks) == body


@pytest.mark.slow
@pytest.mark.parametrize("arch", RUNNING)
def test_a_cut_anywhere_computes_what_the_whole_network_computes(arch):
    architecture = find_architecture(arch)
    network = architecture.build().eval()
    classifier = network.get_submodule(architecture.classifier.rstrip("."))
    for parameter in classifier.parameters():  # a ViT's begins as zeros, and would hide all
        nn.init.normal_(parameter, std=0.02)
    blocks = architecture.blocks(network)
    size_px = FIXED_SIZE_PX.get(arch, 64)
    x = torch.randn(1, 3, size_px, size_px)
    with torch.no_grad():
        expected, crossings = network(x), [x]
        for block in blocks.values():
            crossings.append(block(crossings[-1]))
            assert crossings[-1].ndim in (2, 4)
        for at in sorted({0, 1, len(blocks) // 2, len(blocks) - 1, len(blocks)}):
            _, suffix = cut(blocks, classifier, at, BLOCK_NAMES[arch][-1:], IMAGENET)
            side = torch.empty(1, 0)
            if at == len(blocks):
                logits = suffix.eval()(None, GlobalPool()(crossings[-1]).float())
            else:
                logits = suffix.eval()(crossings[at], side)
            assert torch.allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_the_frozen_prefix_stays_bit_identical_while_the_suffix_trains():
    prefix, suffix = cut_network("mobilenet_v2", strategy(1))
    network = nn.ModuleList([prefix, suffix])
    before = copy.deepcopy(prefix.state_dict())
    suffix_before = copy.deepcopy(suffix.state_dict())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()  # the usual call, which moves the BatchNorm statistics of frozen layers
    for _ in range(3):
        logits = through(prefix, suffix, torch.randn(4, 3, 64, 64))
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
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


@pytest.mark.slow
@pytest.mark.parametrize("arch", RUNNING)
def test_folding_batchnorm_changes_nothing_but_speed(arch):
    prefix, _ = cut_network(arch, strategy(0))
    for module in prefix.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    size_px = FIXED_SIZE_PX.get(arch, 64)
    x = torch.randn(1, 3, size_px, size_px)
    expected, before = prefix(x).side, batchnorms(prefix)
    folded = fold_batchnorm(prefix, torch.float32)
    # In a DenseNet every second BatchNorm stands before its convolution, and stays.
    assert batchnorms(folded) == (62 if arch == "densenet121" else 0)
    assert torch.allclose(
        folded(x).side, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())
    )
    assert batchnorms(prefix) == before


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
    entry = dict(
        train_backbone=False, unfreeze_last_blocks=1, features="last", grey=False, head="gradient",
        lr=1e-3, epochs=3, warmup_epochs=1,
    )  # fmt: skip
    if complaint is None:  # DVC writes small numbers so that YAML reads them as text
        read = parse_params("strategies.mine", {**entry, **change}, StrategyParams)
        assert read.lr == 1e-5
        return
    with pytest.raises(UserError, match=complaint):
        parse_params("strategies.mine", {**entry, **change}, StrategyParams)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("last", ("layer4",)),
        ("inner", ("stem", "layer1", "layer2", "layer3")),
        ("all", BLOCK_NAMES["resnet50"]),
        (["layer3", "layer1"], ("layer1", "layer3")),
    ],
)
def test_a_head_reads_the_blocks_that_are_named_in_the_networks_order(features, expected):
    assert blocks_read("resnet50", features, "strategies.mine") == expected


def test_a_block_that_isnt_there_or_twice_is_refused():
    for features in (["layer9"], ["layer1", "layer1"]):
        with pytest.raises(UserError, match=r"strategies.mine.features: must be last.*stem, lay"):
            blocks_read("resnet50", features, "strategies.mine")


@pytest.mark.parametrize("at", [0, 2, 5])
def test_pooled_features_of_frozen_and_trained_blocks_meet_in_one_order(at):
    """Whatever the cut, a head that reads some blocks gets the same numbers in the same places."""
    architecture = find_architecture("resnet50")
    blocks, reads = architecture.blocks(architecture.build().eval()), ("layer1", "layer3")
    x, expected, pooled = torch.randn(2, 3, 64, 64), [], torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        pooled = x
        for name, block in blocks.items():
            pooled = block(pooled)
            if name in reads:
                expected.append(GlobalPool()(pooled))
        prefix, suffix = cut(blocks, nn.Identity(), at, reads, IMAGENET)
        assert torch.allclose(through(prefix, suffix.eval(), x), torch.cat(expected, 1), atol=1e-5)


def test_the_documented_networks_are_those_that_there_are():
    page = Path(__file__).parents[2] / "docs" / "parameters.md"
    section = page.read_text().split("## Networks")[1].split("## ")[0]
    documented = {}
    for line in section.splitlines():
        if line.startswith("| `") and "| blocks |" not in line:
            names, counts = line.split("|")[1:3]
            found = re.findall(r"`(\w+)`", names)
            numbers = [int(n) for n in counts.split(",")]
            documented |= dict(zip(found, numbers * (len(found) // len(numbers)), strict=True))
    assert documented == {arch: len(names) for arch, names in BLOCK_NAMES.items()}
