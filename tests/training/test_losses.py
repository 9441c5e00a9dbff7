"""Each loss against its paper's formula, worked by hand or term by term."""

import math

import numpy as np
import pytest
import torch

from mammo.errors import UserError
from mammo.network.head import ABSENT, ConditionalRanks
from mammo.params import parse_params
from mammo.training.losses import Loss, logit_adjustment
from mammo.training.params import BalancingParams, LossParams, remedies

CPU = torch.device("cpu")
COUNTS = np.array([40, 363, 849, 335])  # the published classes A-D


def params(name="cross_entropy", tau=1.0, smoothing=0.0, gamma=2.0):
    return LossParams(name=name, gamma=gamma, tau=tau, label_smoothing=smoothing)


def loss_of(logits, labels, chosen, weights=(1, 1, 1, 1), counts=COUNTS):
    loss = Loss(chosen, np.array(weights, float), np.array(counts), CPU)
    return loss.share(torch.tensor(logits), np.array(labels)).item()


def test_balanced_softmax_weighs_each_exponential_by_its_class_count():
    # -log(n_y e^y / sum n_k e^k), two classes of 1 and 3 images, logits log 2 and 0, label 0:
    # -log(1 x 2 / (1 x 2 + 3 x 1)) = log(5/2)
    value = loss_of([[math.log(2), 0.0]], [0], params("balanced_softmax"), (1, 1), (1, 3))
    assert value == pytest.approx(math.log(5 / 2))


def test_logit_adjustment_multiplies_each_odd_by_the_prior_to_tau():
    # priors 1/4 and 3/4, tau 2, the same logits:
    # -log(2 x 1/16 / (2 x 1/16 + 1 x 9/16)) = log(11/2)
    value = loss_of([[math.log(2), 0.0]], [0], params("logit_adjusted", tau=2), (1, 1), (1, 3))
    assert value == pytest.approx(math.log(11 / 2))


def test_balanced_softmax_is_logit_adjustment_with_tau_1():
    logits, labels = torch.randn(9, 4, generator=torch.manual_seed(0)).tolist(), [0, 1, 2] * 3
    one = loss_of(logits, labels, params("balanced_softmax"))
    other = loss_of(logits, labels, params("logit_adjusted"))
    assert one == pytest.approx(other, rel=1e-5)
    assert one != pytest.approx(loss_of(logits, labels, params()), rel=0.05)


def test_a_class_without_images_is_adjusted_as_if_it_had_one():
    assert list(logit_adjustment(np.array([0, 5]), params("balanced_softmax"))) == [0, math.log(5)]


def test_label_smoothing_spreads_the_target():
    # logits log 2 and 0: probabilities 2/3 and 1/3; target .9 + .1 / 2 = .95 and .05
    value = loss_of([[math.log(2), 0.0]], [0], params(smoothing=0.1), (1, 1), (1, 1))
    assert value == pytest.approx(-0.95 * math.log(2 / 3) - 0.05 * math.log(1 / 3))


def test_smoothing_leaves_out_a_class_that_no_image_has():
    # logits log 2 and 0 as above; the third class is absent, and its logit says so
    logits = [[math.log(2), 0.0, ABSENT]]
    value = loss_of(logits, [0], params(smoothing=0.1), (1, 1, 1), (1, 1, 0))
    assert value == pytest.approx(-0.95 * math.log(2 / 3) - 0.05 * math.log(1 / 3))


def test_class_weights_make_a_weighted_mean():
    logits = [[math.log(2), 0.0], [0.0, 0.0]]  # -log p: log 1.5 (label 0), log 2 (label 1)
    value = loss_of(logits, [0, 1], params(), (3, 1), (1, 3))
    assert value == pytest.approx((3 * math.log(1.5) + math.log(2)) / 4)


def test_corn_probabilities_are_products_of_conditional_ones():
    # P(> A) = .8, P(> B | > A) = .5, P(> C | > B) = .25: beyond .8, .4, .1
    conditional = torch.tensor([[0.8, 0.5, 0.25]])
    probabilities = ConditionalRanks()(torch.logit(conditional)).exp()
    assert probabilities[0].tolist() == pytest.approx([0.2, 0.4, 0.3, 0.1])
    extreme = ConditionalRanks()(torch.tensor([[200.0, -200.0, 3.0]]))
    assert torch.isfinite(extreme).all()


def corn_of_the_paper(conditional, labels):
    """The paper's loss, subset by subset: binary cross-entropy over the sum of sizes."""
    total, size = 0.0, 0
    for task in range(conditional.shape[1]):
        subset = [i for i, label in enumerate(labels) if label >= task]  # those beyond task - 1
        for i in subset:
            p = 1 / (1 + math.exp(-conditional[i, task]))
            total -= math.log(p) if labels[i] > task else math.log(1 - p)
        size += len(subset)
    return total / size


def test_corn_is_the_loss_over_the_conditional_training_subsets():
    conditional = torch.randn(8, 3, generator=torch.manual_seed(0))
    labels = [0, 1, 2, 3, 3, 2, 1, 2]
    value = loss_of(ConditionalRanks()(conditional).tolist(), labels, params("corn"))
    assert value == pytest.approx(corn_of_the_paper(conditional.numpy(), labels), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1, 2])
def test_focal_loss_has_a_slope_where_an_image_is_right_beyond_rounding(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = Loss(params("focal", gamma=gamma), np.ones(2), np.array([1, 1]), CPU)
    loss.share(logits, np.array([0, 0])).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0].tolist() == [0, 0]
    assert logits.grad[1, 0] < 0


def test_focal_loss_follows_the_formula():
    # p = 2/3: -(1/3)^2 log(2/3); p = 1/2: (1/2)^2 log 2, of weights 3 and 1
    logits = [[math.log(2), 0.0], [0.0, 0.0]]
    value = loss_of(logits, [0, 1], params("focal"), (3, 1), (1, 3))
    assert value == pytest.approx((3 * math.log(1.5) / 9 + math.log(2) / 4) / 4)
    plain = loss_of(logits, [0, 1], params("focal", gamma=0), (1, 1), (1, 3))
    assert plain == pytest.approx(loss_of(logits, [0, 1], params(), (1, 1), (1, 3)))


def test_a_weight_multiplies_the_whole_of_an_images_smoothed_loss():
    """A rare class's weight pulls no image of another class towards it."""
    logits, smoothed = [[math.log(2), 0.0]], params(smoothing=0.1)
    alone = loss_of(logits, [0], smoothed, (1, 1), (1, 1))
    assert loss_of(logits, [0], smoothed, (1, 50), (1, 1)) == pytest.approx(alone)


@pytest.mark.parametrize(
    "name", ["cross_entropy", "focal", "balanced_softmax", "logit_adjusted", "corn"]
)
def test_the_mean_of_the_shares_is_the_loss_of_the_whole_batch(name):
    """Value and gradient, for 7 images over 3 processes and uneven weights."""
    loss = Loss(params(name), np.array([3.0, 1, 2, 1]), COUNTS, CPU)
    labels = np.array([0, 1, 2, 3, 2, 2, 0])
    logits = torch.randn(7, 4, generator=torch.manual_seed(1)).log_softmax(dim=1)
    logits.requires_grad_(True)
    whole = loss.share(logits, labels)
    (expected,) = torch.autograd.grad(whole, logits)
    shares = torch.stack([loss.share(logits[r::3], labels, r, 3) for r in range(3)])
    (gradient,) = torch.autograd.grad(shares.mean(), logits)
    assert shares.mean().item() == pytest.approx(whole.item(), rel=1e-6)
    assert torch.allclose(gradient, expected, atol=1e-7)


def test_corn_refuses_label_smoothing_with_the_reason():
    values = dict(name="corn", gamma=2, tau=1, label_smoothing=0.1)
    with pytest.raises(UserError, match=r"loss.*label_smoothing.*with corn set it to 0"):
        parse_params("loss", values, LossParams)


def test_every_remedy_is_listed_with_its_switch():
    def acting(sampler, weights, beta, name, power=1):
        balancing = BalancingParams(
            weighted_sampler=sampler, class_weights=weights, power=power, effective_beta=beta,
            allow_double=True,
        )  # fmt: skip
        return remedies(balancing, params(name))

    assert acting(False, "none", None, "cross_entropy") == {}
    assert acting("auto", "none", None, "corn") == {}
    assert acting(True, "balanced", None, "cross_entropy", power=0) == {}
    assert list(acting(True, "balanced", None, "logit_adjusted").values()) == [
        "balancing.weighted_sampler: false", "balancing.class_weights: none",
        "loss.name: cross_entropy",
    ]  # fmt: skip
    assert list(acting(False, [3, 1], None, "cross_entropy", power=0)) == ["class weights"]
    assert list(acting(False, "none", 0.9, "cross_entropy")) == ["effective-number weights"]
