"""Collapse: detected on a constant predictor, not on a healthy one; and advice that fits."""

import numpy as np
import pytest

from mammo import paths
from mammo.evaluation.collapse import assess
from mammo.evaluation.metrics import confusion_metrics
from mammo.params import load_leaf
from mammo.storage.files import read_json
from mammo.training.settings import load_recipe
from mammo.training.watch import CollapseError, Watch, defences, epoch_line, risks
from support.pipeline_copy import ROOT
from support.trainings import COLLAPSE, recipe

CLASSES = ["A", "B", "C", "D"]
PUBLISHED = np.array([[2, 6, 0, 0], [4, 58, 11, 0], [0, 42, 98, 30], [0, 1, 9, 57]])
ALWAYS_C = np.array([[0, 0, 8, 0], [0, 0, 73, 0], [0, 0, 170, 0], [0, 0, 67, 0]])


def thresholds(action="warn", patience=2):
    update = {"action": action, "patience": patience, "min_support": 5}
    return COLLAPSE.model_copy(update=update)


def of(
    trained=1, sampler=True, weights="none", warmup=2, loss="cross_entropy", head="gradient",
    action="warn", patience=2, power=1,
):  # fmt: skip
    """Make a recipe on ResNet50, five blocks."""
    return recipe(
        backbone={"arch": "resnet50"},
        strategy={
            "train_backbone": trained == 5, "unfreeze_last_blocks": min(trained, 4), "epochs": 9,
            "warmup_epochs": warmup, "head": head, "lr": 1e-4,
        },
        balancing={
            "weighted_sampler": sampler, "class_weights": weights, "allow_double": True,
            "power": power,
        },
        loss={"name": loss},
        collapse={"action": action, "patience": patience},
    )  # fmt: skip


# Largest class over smallest 21.2 in 1,000 images; 3.0 in 400 and in 3,000.
RARE = np.array([25, 229, 535, 211])
FEW, MANY = np.array([50, 100, 150, 100]), np.array([375, 750, 1125, 750])


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
        # 80 % of the predictions are one class, as 79 % of the images are: healthy
        ([[8, 0, 0, 0], [0, 10, 1, 0], [0, 0, 170, 0], [0, 0, 0, 24]], "healthy"),
        # 90 % of the predictions are one class, of 53 % of the images: a warning
        ([[6, 0, 2, 0], [0, 10, 63, 0], [0, 0, 170, 0], [0, 0, 47, 20]], "warning"),
        # nearly all predictions are one class, as 96 % of the images are: no collapse
        ([[0, 0, 2, 0], [0, 1, 2, 0], [0, 0, 170, 0], [0, 0, 1, 1]], "warning"),
    ],
)
def test_status_follows_the_thresholds(confusion, status):
    assert judge(confusion).status == status


def test_a_low_kappa_with_a_class_lost_is_a_collapse_at_the_end_only_with_a_favourite():
    scattered = [[0, 4, 4, 0], [0, 20, 30, 20], [0, 60, 60, 50], [0, 20, 30, 20]]
    assert (judge(scattered).status, judge(scattered, at_end=True).status) == (
        "collapsed", "warning",
    )  # fmt: skip
    one_class = [[0, 0, 8, 0], [0, 5, 65, 0], [0, 5, 165, 0], [0, 2, 66, 2]]  # 95 % are C
    assert (judge(one_class).status, judge(one_class, at_end=True).status) == (
        "collapsed", "collapsed",
    )  # fmt: skip


def test_at_the_end_more_kappa_is_expected():
    confusion = [[4, 2, 1, 1], [20, 30, 15, 8], [20, 40, 80, 30], [5, 10, 20, 32]]
    kappa = confusion_metrics(np.array(confusion), CLASSES)["kappa"]
    assert 0.2 < kappa < 0.3
    reasons = judge(confusion, at_end=True).reasons
    assert [r for r in reasons if r.startswith("kappa")]
    assert not [r for r in judge(confusion).reasons if r.startswith("kappa")]


def test_an_alarm_needs_the_end_of_the_warmup_and_patience():
    watch = Watch(of(action="stop"), RARE)
    ends = [watch.follow(epoch, judge(ALWAYS_C), held=2) for epoch in range(1, 5)]
    assert ends == [False, False, False, True]
    assert "collapsed at epoch 4" in watch.alerts[0]


def test_a_healthy_epoch_resets_the_patience():
    watch = Watch(of(action="stop"), RARE)
    for confusion in (ALWAYS_C, PUBLISHED, ALWAYS_C, PUBLISHED, ALWAYS_C):
        assert not watch.follow(9, judge(confusion))
    assert watch.alerts == []


def test_warn_goes_on_and_fail_raises_with_advice():
    warned = Watch(of(patience=1), RARE)
    assert not warned.follow(1, judge(ALWAYS_C))
    assert len(warned.alerts) == 1
    failing = Watch(of(sampler=False, action="fail", patience=1), RARE)
    with pytest.raises(CollapseError, match=r"weighted_sampler: true.*strategies\.mine\.lr"):
        failing.follow(1, judge(ALWAYS_C))


def test_a_collapsed_solved_head_raises_the_alarm_at_once():
    watch = Watch(of(trained=0, head="solved"), RARE)
    watch.judge(judge(PUBLISHED))
    assert watch.alerts == []
    watch.judge(judge(ALWAYS_C))
    assert "the solved head has collapsed" in watch.alerts[0]
    with pytest.raises(CollapseError):
        Watch(of(trained=0, head="solved", action="fail"), RARE).judge(judge(ALWAYS_C))


def test_a_resumed_watch_goes_on_counting():
    watch = Watch(of(action="stop"), RARE)
    watch.follow(1, judge(ALWAYS_C))
    resumed = Watch(of(action="stop"), RARE)
    resumed.restore(watch.state())
    assert resumed.follow(2, judge(ALWAYS_C))


def test_advice_names_only_what_the_configuration_lacks():
    head_only = " ".join(defences(of(trained=0), RARE))
    assert "freeze" not in head_only and "weighted_sampler" not in head_only
    assert "lr" in head_only
    full = " ".join(defences(of(trained=5, sampler=False), FEW))
    assert "head_only" in full and "weighted_sampler: true" in full and "warmup_epochs" in full
    double = " ".join(defences(of(sampler=True, weights="balanced"), RARE))
    assert "class_weights: none" in double
    assert "lr" not in " ".join(defences(of(trained=0, head="solved"), RARE))


@pytest.mark.parametrize(
    ("change", "counts", "complaint"),
    [
        ({"weights": "balanced"}, RARE, "count rare classes twice"),
        ({"sampler": False}, RARE, "neither sampler nor class weights"),
        ({"power": 0}, RARE, "neither sampler nor class weights"),
        ({"trained": 5}, FEW, "head_only is recommended"),
        ({"trained": 5}, MANY, "last_two_blocks is recommended"),
        ({"warmup": 1}, RARE, "asks for a warm-up"),
        ({"loss": "logit_adjusted"}, RARE, "sampler and loss logit_adjusted together count"),
    ],
)
def test_risky_configurations_are_named_before_training(change, counts, complaint):
    assert complaint in " | ".join(risks(of(**change), counts))


def test_the_recommended_configuration_has_no_known_risk():
    assert risks(of(), RARE) == []
    assert risks(of(trained=0, warmup=0), FEW) == []
    assert risks(of(sampler="auto", trained=0), RARE) == []
    assert risks(of(sampler=False, loss="balanced_softmax"), RARE) == []
    assert risks(of(head="solved", warmup=0), RARE) == []


def test_the_reported_strategy_as_shipped_has_no_known_risk(monkeypatch):
    monkeypatch.chdir(ROOT)
    shipped = load_recipe(load_leaf("strategy", str))
    images = read_json(paths.SPLIT_METRICS)["splits"]["train"]["images_by_class"]
    counts = np.array([images[label] for label in shipped.classes])
    assert counts.tolist() == [6, 56, 126, 52]  # of the phantom as shipped: 21 to 1
    assert risks(shipped, counts) == []
    assert read_json(paths.TRAIN_METRICS / f"{shipped.name}.json")["risks"] == []


def test_an_epoch_is_one_line_with_shares_and_status():
    metrics = confusion_metrics(np.array(ALWAYS_C), CLASSES)
    line = epoch_line(3, metrics, CLASSES, judge(ALWAYS_C))
    expected = "epoch 3  A 0 %  B 0 %  C 100 %  D 0 %  collapsed: 100% of the predictions are C"
    assert line.startswith(expected)
    healthy = confusion_metrics(np.array(PUBLISHED), CLASSES)
    assert epoch_line(1, healthy, CLASSES, judge(PUBLISHED)).endswith("D 27 %  healthy")
