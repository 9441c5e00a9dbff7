"""Collapse: detected on a constant predictor, not on a healthy one; and advice that fits."""

import numpy as np
import pytest

from mammo.evaluation.collapse import assess
from mammo.evaluation.metrics import confusion_metrics
from mammo.evaluation.params import CollapseParams
from mammo.network.params import StrategyParams
from mammo.training.params import BalancingParams, LossParams
from mammo.training.watch import CollapseError, Setting, Watch, defences, recommended_cut, risks

CLASSES = ["A", "B", "C", "D"]
PUBLISHED = np.array([[2, 6, 0, 0], [4, 58, 11, 0], [0, 42, 98, 30], [0, 1, 9, 57]])
ALWAYS_C = np.array([[0, 0, 8, 0], [0, 0, 73, 0], [0, 0, 170, 0], [0, 0, 67, 0]])


def thresholds(action="warn", patience=2):
    return CollapseParams(
        action=action, patience=patience, min_support=5, collapsed_share=0.99, collapsed_kappa=0.2,
        warning_share=0.75, warning_kappa=0.2, warning_kappa_at_end=0.3, warning_bal_acc_adj=0.3,
    )  # fmt: skip


def setting(
    trained=1, sampler=True, weights=False, warmup=2, images=1000, imbalance=21.2,
    loss="cross_entropy",
):  # fmt: skip
    strategy = StrategyParams(
        train_backbone=trained == 5, unfreeze_last_blocks=min(trained, 4), lr=1e-4, epochs=9,
        warmup_epochs=warmup,
    )  # fmt: skip
    balancing = BalancingParams(
        weighted_sampler=sampler, class_weights=weights, effective_beta=None, allow_double=True
    )
    chosen = LossParams(name=loss, tau=1, label_smoothing=0)
    return Setting("mine", strategy, balancing, 5, images, imbalance, chosen)


def judge(confusion, at_end=False):
    return assess(confusion_metrics(np.array(confusion), CLASSES), CLASSES, thresholds(), at_end)


def test_a_constant_predictor_has_collapsed():
    assessment = judge(ALWAYS_C)
    assert assessment.status == "collapsed"
    assert "100% of the predictions are C" in assessment.reasons[0]


def test_the_published_predictions_are_healthy_and_short_of_nothing():
    assert judge(PUBLISHED).status == "healthy"
    assert judge(PUBLISHED, at_end=True).status == "healthy"


@pytest.mark.parametrize(
    ("confusion", "status"),
    [
        # low kappa and a class of 8 never recalled: collapsed without a single favourite
        ([[0, 4, 4, 0], [0, 20, 30, 20], [0, 60, 60, 50], [0, 20, 30, 20]], "collapsed"),
        # the same with a class of 4, fewer than min_support: a warning
        ([[0, 2, 2, 0], [0, 20, 30, 20], [0, 60, 60, 50], [0, 20, 30, 20]], "warning"),
        # good kappa, but a class never recalled: a warning
        ([[0, 8, 0, 0], [0, 70, 3, 0], [0, 5, 160, 5], [0, 0, 5, 62]], "warning"),
        # 80 % of the predictions are one class: a warning
        ([[8, 0, 0, 0], [0, 10, 1, 0], [0, 0, 170, 0], [0, 0, 0, 24]], "warning"),
    ],
)
def test_status_follows_the_thresholds(confusion, status):
    assert judge(confusion).status == status


def test_at_the_end_more_kappa_is_expected():
    confusion = [[4, 2, 1, 1], [20, 30, 15, 8], [20, 40, 80, 30], [5, 10, 20, 32]]
    kappa = confusion_metrics(np.array(confusion), CLASSES)["kappa"]
    assert 0.2 < kappa < 0.3
    reasons = judge(confusion, at_end=True).reasons
    assert [r for r in reasons if r.startswith("kappa")]
    assert not [r for r in judge(confusion).reasons if r.startswith("kappa")]


def test_an_alarm_needs_the_end_of_the_warmup_and_patience():
    watch = Watch(setting(warmup=2), thresholds("stop"))
    ends = [watch.follow(epoch, judge(ALWAYS_C)) for epoch in range(1, 5)]
    assert ends == [False, False, False, True]
    assert "collapsed at epoch 4" in watch.alerts[0]


def test_a_healthy_epoch_resets_the_patience():
    watch = Watch(setting(warmup=0), thresholds("stop"))
    for confusion in (ALWAYS_C, PUBLISHED, ALWAYS_C, PUBLISHED, ALWAYS_C):
        assert not watch.follow(9, judge(confusion))
    assert watch.alerts == []


def test_warn_goes_on_and_fail_raises_with_advice():
    warned = Watch(setting(warmup=0), thresholds("warn", patience=1))
    assert not warned.follow(1, judge(ALWAYS_C))
    assert len(warned.alerts) == 1
    failing = Watch(setting(warmup=0, sampler=False), thresholds("fail", patience=1))
    with pytest.raises(CollapseError, match=r"weighted_sampler: true.*strategies\.mine\.lr"):
        failing.follow(1, judge(ALWAYS_C))


def test_a_resumed_watch_goes_on_counting():
    watch = Watch(setting(warmup=0), thresholds("stop"))
    watch.follow(1, judge(ALWAYS_C))
    resumed = Watch(setting(warmup=0), thresholds("stop"))
    resumed.restore(watch.state())
    assert resumed.follow(2, judge(ALWAYS_C))


def test_advice_names_only_what_the_configuration_lacks():
    head_only = " ".join(defences(setting(trained=0)))
    assert "freeze" not in head_only and "weighted_sampler" not in head_only
    assert "lr" in head_only
    full = " ".join(defences(setting(trained=5, sampler=False, images=400)))
    assert "head_only" in full and "weighted_sampler: true" in full and "warmup_epochs" in full
    double = " ".join(defences(setting(sampler=True, weights=True)))
    assert "class_weights: false" in double


@pytest.mark.parametrize(
    ("images", "advised"),
    [
        (499, "head_only"),
        (500, "last_block"),
        (1_999, "last_block"),
        (2_000, "last_two_blocks"),
        (10_000, "full"),
    ],
)
def test_the_recommended_cut_follows_the_number_of_images(images, advised):
    assert recommended_cut(images) == advised


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"weights": True}, "count rare classes twice"),
        ({"sampler": False}, "neither sampler nor class weights"),
        ({"trained": 5, "images": 400}, "head_only is recommended"),
        ({"trained": 2}, "last_block is recommended"),
        ({"sampler": False, "weights": True}, "asks for the sampler"),
        ({"warmup": 1}, "asks for a warm-up"),
        ({"loss": "logit_adjusted"}, "sampler and loss logit_adjusted together count"),
    ],
)
def test_risky_configurations_are_named_before_training(change, complaint):
    assert complaint in " | ".join(risks(setting(**change)))


def test_the_recommended_configuration_has_no_known_risk():
    assert risks(setting()) == []
    assert risks(setting(trained=0, images=240, warmup=0)) == []
    assert risks(setting(sampler=False, loss="balanced_softmax")) == []
