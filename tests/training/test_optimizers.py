"""A learning rate for every block, and all parameters in one optimizer."""

from collections import OrderedDict

import pytest
from torch import nn

from mammo.network.strategies import Suffix
from mammo.training.optimizers import block_scales, make_optimizer, set_learning_rate


def suffix():
    blocks = OrderedDict((name, nn.Linear(2, 2)) for name in ("early", "middle", "late"))
    return Suffix(blocks, nn.Linear(2, 4), reads=["late"])


def test_each_block_below_the_head_is_scaled_once_more():
    # Howard & Ruder: 1 / 2.6 a layer; 1 / 2.6^3 = 0.0569
    scales = block_scales(suffix(), 1 / 2.6)
    assert list(scales) == ["early", "middle", "late", "head"]
    assert list(scales.values()) == pytest.approx([0.0569, 0.1479, 0.3846, 1], abs=1e-4)
    assert set(block_scales(suffix(), 1.0).values()) == {1.0}


def test_the_rate_of_a_group_follows_its_scale():
    optimizer = make_optimizer(suffix(), lr=1.0, weight_decay=0.05, layer_decay=0.5)
    set_learning_rate(optimizer, 0.8)
    decayed, others = optimizer.param_groups[::2], optimizer.param_groups[1::2]
    for groups in (decayed, others):  # weights; biases, which nothing draws to 0
        assert [g["lr"] for g in groups] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert {g["weight_decay"] for g in decayed} == {0.05}
    assert {g["weight_decay"] for g in others} == {0.0}


def test_no_parameter_is_left_out_even_while_blocks_are_held():
    held = suffix()
    held.warm_up()
    optimizer = make_optimizer(held, lr=1.0, weight_decay=0, layer_decay=0.9)
    trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in held.parameters())
