"""Heads: parameters, thresholds in order, and log-probabilities that are some."""

import pytest
import torch

from mammo.network.backbones import count_parameters
from mammo.network.head import HeadShape, ProportionalOdds, make_head


@pytest.mark.parametrize(
    ("kind", "features", "expected"),
    [
        ("multinomial", 2048, 4 * 2049),
        ("ordinal", 2048, 2048 + 3),
        ("ordinal", 1280, 1283),
        ("corn", 1280, 3 * 1281),
    ],
)
def test_a_heads_parameters_are_the_published_counts(kind, features, expected):
    assert count_parameters(make_head(HeadShape(kind, features, 4))) == expected


@pytest.mark.parametrize("kind", ["ordinal", "corn"])
def test_an_ordered_head_answers_with_log_probabilities(kind):
    head = make_head(HeadShape(kind, 8, 4))
    assert head(torch.randn(5, 8)).exp().sum(dim=1).tolist() == pytest.approx([1] * 5)


def test_proportional_odds_follow_the_formula():
    order = ProportionalOdds(4)
    order.place(torch.tensor([-1.0, 0.5, 2.0]))
    assert order.thresholds.tolist() == pytest.approx([-1, 0.5, 2])
    below = torch.sigmoid(torch.tensor([-1.0, 0.5, 2.0]) - 0.3)  # P(class <= k) at a score of .3
    expected = torch.cat([below, torch.ones(1)]) - torch.cat([torch.zeros(1), below])
    assert order(torch.tensor([[0.3]])).exp()[0].tolist() == pytest.approx(expected.tolist())
    far = order(torch.tensor([[80.0], [-80.0]]))
    assert torch.isfinite(far).all() and far.exp().argmax(dim=1).tolist() == [3, 0]


def test_thresholds_stay_in_order_while_they_train():
    order = ProportionalOdds(4)
    optimizer = torch.optim.SGD(order.parameters(), lr=5.0)
    for _ in range(30):  # labels that pull the middle classes together
        (-order(torch.randn(8, 1))[:, 0].mean()).backward()
        optimizer.step()
    assert (order.thresholds.diff() > 0).all()


def test_a_class_without_training_images_has_probability_0():
    shape = HeadShape("ordinal", 8, 4, present=(0, 2, 3))
    head = make_head(shape)
    logits = head(torch.randn(5, 8))
    assert logits.softmax(dim=1)[:, 1].tolist() == [0] * 5
    assert count_parameters(head) == 8 + 2
    assert HeadShape.of_values(shape.as_values()) == shape
