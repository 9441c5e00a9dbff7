"""Training: warm-up and release, resuming, collapse, and one answer on every path."""

import os
import shutil

import numpy as np
import pytest
import torch
from mammo.embedding.embedding import embed, plan
from torch._dynamo.utils import counters

from mammo.embedding.augment import Augmentation
from mammo.embedding.sources import FlippedPixels, FreshViews, Pixels
from mammo.errors import UserError
from mammo.evaluation.inference import Answers, mean_probabilities, predict, split_evenly
from mammo.evaluation.suffix_file import check_backbone, load_suffix, save_suffix
from mammo.network.compute import compile_module, start
from mammo.network.inputs import IMAGENET
from mammo.network.params import BackboneParams
from mammo.network.strategies import fold_batchnorm
from mammo.storage.tensors import Tensors
from mammo.training.loop import best_order, learning_rate, train
from mammo.training.optimizers import set_learning_rate
from mammo.training.progress import Progress
from mammo.training.retraining import retrain_head
from mammo.training.watch import CollapseError
from support.trainings import (
    AUGMENT,
    BACKBONE,
    BLOCKS,
    CLASSES,
    COMPUTE,
    CPU,
    EMBED,
    SIZE,
    Blank,
    changed,
    make_fold,
    make_run,
    network_of,
    stored_views,
    write_data,
)


@pytest.fixture(scope="module")
def fabric():
    return start(COMPUTE)


@pytest.fixture(scope="module")
def backbone():
    return BackboneParams(**BACKBONE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone):
    return write_data(tmp_path_factory.mktemp("data"), backbone)


def test_answers_come_back_in_the_order_of_the_batches_and_none_may_be_missing(fabric):
    batches = [np.arange(3), np.arange(2), np.arange(2)]
    logits = torch.arange(14.0).reshape(7, 2).requires_grad_()
    answers = Answers(fabric, batches)
    with pytest.raises(ValueError, match="0 images were answered"):
        answers.gather()
    for part in logits[:5].split([3, 2]):
        answers.add(part)
    with pytest.raises(ValueError, match="5 images were answered"):
        answers.gather()
    answers.add(logits[5:])
    assert torch.equal(answers.gather(), logits.detach())
    assert not answers.gather().requires_grad


class Scaled(torch.nn.Module):
    """A prefix that only multiplies."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, images):
        return images * self.factor


@pytest.mark.parametrize("factor", [1e6, float("nan")])
def test_what_half_precision_cannot_hold_is_not_stored(folder, factor):
    tensors, augmentation = Tensors(folder / "tensors"), Augmentation(AUGMENT)
    fits = next(embed(tensors, Scaled(1.0), augmentation, EMBED, CPU, torch.float32, IMAGENET))
    assert fits.flags.c_contiguous and np.isfinite(fits).all()
    with pytest.raises(FloatingPointError, match="half precision"):
        next(embed(tensors, Scaled(factor), augmentation, EMBED, CPU, torch.float32, IMAGENET))


def test_only_the_head_trains_in_the_warmup_and_everything_after_it(folder, backbone, fabric):
    states = [
        {k: v.clone() for k, v in network_of(folder, backbone, 2).suffix.state_dict().items()}
    ]
    run = make_run(folder, backbone, fabric, epochs=3, warmup=2)

    def remember(row):
        if row["split"] == "val":
            states.append({k: v.clone() for k, v in run.suffix.state_dict().items()})

    run.record = remember
    train(run)
    head = {"head.linear.weight", "head.linear.bias"}
    assert changed(states[0], states[1]) == head
    assert changed(states[1], states[2]) == head
    assert changed(states[2], states[3]) == set(states[0])  # BatchNorm's statistics included


def test_training_learns_what_can_be_learnt(folder, backbone, fabric):
    tensors, whole = Tensors(folder / "tensors"), network_of(folder, backbone, BLOCKS)
    source = FreshViews(tensors, whole.prefix, torch.float32, IMAGENET, Augmentation(AUGMENT))
    run = make_run(folder, backbone, fabric, trained=BLOCKS, epochs=25, source=source, lr=3e-3)
    outcome = train(run)
    assert max(row["kappa"] for row in outcome.rows if row["split"] == "val") > 0.5


def test_two_runs_are_bit_identical(folder, backbone, fabric):
    first, second = (train(make_run(folder, backbone, fabric)) for _ in range(2))
    assert first.rows == second.rows
    assert not changed(first.last, second.last)


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler"
)
def test_a_compiled_suffix_trains_as_the_uncompiled_one_and_repeats(folder, backbone, fabric):
    """Through the warm-up, the release and the evaluation: at least a graph each."""
    counters.clear()
    compiled = []
    for _ in range(2):
        run = make_run(folder, backbone, fabric, trained=1, epochs=2)
        compile_module(run.suffix, COMPUTE.model_copy(update={"compile": True}), CPU)
        compiled.append(train(run))
    assert counters["stats"]["unique_graphs"] >= 3
    plain = train(make_run(folder, backbone, fabric, trained=1, epochs=2))
    assert compiled[0].rows == compiled[1].rows
    assert set(compiled[0].last) == set(plain.last)
    for row, expected in zip(compiled[0].rows, plain.rows, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-3)


@pytest.mark.parametrize(("stop_after", "ema_decay"), [(1, 0), (2, 0), (3, 0), (2, 0.9)])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    folder, backbone, fabric, tmp_path, stop_after, ema_decay
):
    options = dict(ema_decay=ema_decay)
    whole = train(make_run(folder, backbone, fabric, **options))

    def interrupt(row):
        if row["split"] == "val" and row["epoch"] == stop_after + 1:
            raise KeyboardInterrupt

    progress = Progress(tmp_path, 0)
    victim = make_run(folder, backbone, fabric, record=interrupt, progress=progress, **options)
    with pytest.raises(KeyboardInterrupt):
        train(victim)
    rows = []
    options |= dict(record=rows.append, progress=Progress(tmp_path, 0))
    resumed = make_run(folder, backbone, fabric, **options)
    outcome = train(resumed)
    assert rows == outcome.rows == whole.rows
    assert not changed(outcome.last, whole.last)
    assert not changed(outcome.best.state, whole.best.state)


def test_a_run_interrupted_with_all_epochs_done_trains_no_more(folder, backbone, fabric, tmp_path):
    whole = train(make_run(folder, backbone, fabric, progress=Progress(tmp_path, 0)))
    again = make_run(folder, backbone, fabric, progress=Progress(tmp_path, 0))
    again.source = None  # any batch would fail
    outcome = train(again)
    assert outcome.rows == whole.rows
    assert not changed(outcome.last, whole.last)


def test_no_part_of_the_warmup_is_the_best_epoch(folder, backbone, fabric):
    outcome = train(make_run(folder, backbone, fabric, epochs=3, warmup=2))
    assert outcome.best.epoch == 3


def test_the_best_epoch_is_first_by_bal_acc_adj_then_kappa_then_auc():
    def row(bal_acc_adj, kappa, auc):
        return {"bal_acc_adj": bal_acc_adj, "kappa": kappa, "auc_macro": auc}

    rows = [row(0.5, 0.1, 0.9), row(0.4, 0.9, 0.9), row(0.5, 0.2, 0.1), row(0.5, 0.2, None)]
    assert max(rows, key=best_order) is rows[2]


class Constant(Blank):
    """Likewise, for a cut before the last block."""

    def train_batch(self, positions, epoch):
        return np.zeros((len(positions), 320, 2, 2), np.float16)


def test_collapse_stops_or_fails_a_run_or_only_warns(folder, backbone, fabric):
    options = dict(trained=0, warmup=0, source=Blank(), epochs=6, patience=2)
    warned = train(make_run(folder, backbone, fabric, action="warn", **options))
    assert len(warned.rows) == 12 and len(warned.alerts) == 1
    stopped = train(make_run(folder, backbone, fabric, action="stop", **options))
    assert len(stopped.rows) == 4
    with pytest.raises(CollapseError, match="mine: collapsed at epoch 2"):
        train(make_run(folder, backbone, fabric, action="fail", **options))


def test_early_stopping_waits_for_a_better_epoch(folder, backbone, fabric):
    run = make_run(
        folder, backbone, fabric, trained=0, warmup=0, epochs=9, source=Blank(), stopping=2
    )
    assert train(run).rows[-1]["epoch"] == 3


def test_class_weights_enter_the_loss(folder, backbone, fabric):
    fold = make_fold()
    assert make_run(folder, backbone, fabric, weights=True).loss.weights.tolist() == [1.0] * 4
    fold.labels[fold.train[fold.labels[fold.train] == 0][:6]] = 1  # now 2, 14, 8, 8
    run = make_run(folder, backbone, fabric, weights=True, fold=fold)
    assert run.loss.weights.tolist() == pytest.approx([7, 1, 14 / 8, 14 / 8])


@pytest.mark.parametrize("loss", ["cross_entropy", "corn", "balanced_softmax", "logit_adjusted"])
def test_without_information_a_loss_learns_the_prior_or_makes_up_for_it(
    folder, backbone, fabric, loss
):
    fold = make_fold()
    fold.labels[fold.train] = np.repeat(np.arange(4), [4, 4, 8, 16])
    run = make_run(
        folder, backbone, fabric, trained=0, warmup=0, source=Blank(), epochs=25, lr=0.2,
        sampler=False, fold=fold, loss=loss,
    )  # fmt: skip
    train(run)
    logits = predict(run.suffix, Blank(), np.arange(1), fabric, 1)
    adjusts = loss in ("balanced_softmax", "logit_adjusted")
    expected = [0.25] * 4 if adjusts else [0.125, 0.125, 0.25, 0.5]
    assert logits.softmax(dim=1)[0].tolist() == pytest.approx(expected, abs=0.03)
    assert run.suffix.head.linear.out_features == (3 if loss == "corn" else 4)


def test_a_re_trained_head_is_new_and_the_blocks_are_the_best_epochs(folder, backbone, fabric):
    rows = []
    run = make_run(folder, backbone, fabric, epochs=3, retrain_head_epochs=2, record=rows.append)
    first = train(run)
    outcome = retrain_head(run, first)
    head = {"head.linear.weight", "head.linear.bias"}
    assert changed(first.best.state, outcome.last) == head
    assert changed(first.best.state, outcome.best.state) == head
    assert [row["epoch"] for row in outcome.rows[::2]] == [1, 2, 3, 4, 5]
    assert rows == outcome.rows
    assert outcome.best.epoch in (4, 5)
    assert outcome.rows[6]["lr"] == run.lr  # the schedule starts again


def test_a_re_trained_head_starts_afresh(folder, backbone, fabric):
    """At a rate of nearly nothing, two heads only differ if one was initialised anew."""
    options = dict(epochs=2, retrain_head_epochs=1, lr=1e-9)
    run = make_run(folder, backbone, fabric, **options)
    first = train(run)
    fresh = retrain_head(run, first).last["head.linear.weight"]
    trained = first.last["head.linear.weight"]
    assert (fresh - trained).abs().mean() > 0.5 * trained.abs().mean()
    assert fresh.std().item() == pytest.approx(trained.std().item(), rel=0.1)


def test_a_re_trained_head_forgets_the_prior(folder, backbone, fabric):
    fold = make_fold()
    fold.labels[fold.train] = np.repeat(np.arange(4), [4, 4, 8, 16])
    run = make_run(
        folder, backbone, fabric, trained=0, warmup=0, source=Blank(), epochs=20, lr=0.2,
        sampler=False, fold=fold, retrain_head_epochs=20,
    )  # fmt: skip
    first = train(run)
    prior, level = (
        o.last["head.linear.bias"].softmax(dim=0) for o in (first, retrain_head(run, first))
    )
    assert prior.tolist() == pytest.approx([0.125, 0.125, 0.25, 0.5], abs=0.03)
    assert level.tolist() == pytest.approx([0.25] * 4, abs=0.06)


def test_an_interrupted_re_training_ends_as_if_it_had_not_been(folder, backbone, fabric, tmp_path):
    def both(**options):
        run = make_run(folder, backbone, fabric, epochs=2, retrain_head_epochs=3, **options)
        return retrain_head(run, train(run))

    def interrupt(row):
        if row["split"] == "val" and row["epoch"] == 4:
            raise KeyboardInterrupt

    whole = both()
    with pytest.raises(KeyboardInterrupt):
        both(record=interrupt, progress=Progress(tmp_path, 0))
    rows = []
    outcome = both(record=rows.append, progress=Progress(tmp_path, 0))
    assert rows == outcome.rows == whole.rows
    assert not changed(outcome.last, whole.last)
    Progress(tmp_path, 0).clear()
    assert not tmp_path.exists()


def test_an_alert_of_a_re_training_counts_the_epochs_on_and_advises_on_the_head(
    folder, backbone, fabric
):
    options = dict(trained=1, epochs=2, lr=1e-9, patience=2, retrain_head_epochs=2)
    run = make_run(folder, backbone, fabric, source=Constant(), **options)
    (alert,) = retrain_head(run, train(run)).alerts
    assert "collapsed at epoch 4" in alert
    assert "freeze" not in alert and "warm up" not in alert


def test_a_training_stopped_for_collapse_is_not_re_trained(folder, backbone, fabric):
    options = dict(trained=0, warmup=0, source=Blank(), epochs=6, patience=2, action="stop")
    run = make_run(folder, backbone, fabric, retrain_head_epochs=2, **options)
    outcome = train(run)
    assert outcome.alerts and retrain_head(run, outcome) is outcome


def test_test_time_flips_average_the_probabilities_of_image_and_flip(folder, backbone, fabric):
    tensors, network = Tensors(folder / "tensors"), network_of(folder, backbone, 1)
    prefix = fold_batchnorm(network.prefix, torch.float32)
    sources = [kind(tensors, prefix, torch.float32, IMAGENET) for kind in (Pixels, FlippedPixels)]
    upright, flipped = (source.clean_batch(np.arange(5)) for source in sources)
    assert (flipped == upright[:, ::-1, :]).all() and (flipped != upright).any()
    logits = [predict(network.suffix, source, np.arange(5), fabric, 5) for source in sources]
    one, other = (each.softmax(dim=1).numpy() for each in logits)
    assert mean_probabilities(logits) == pytest.approx((one + other) / 2, abs=1e-7)
    assert (mean_probabilities(logits[:1]) == one).all()  # without flips, not a bit changes


def test_only_batchnorm_affine_parameters_and_the_head_train_on_request(folder, backbone, fabric):
    run = make_run(folder, backbone, fabric, epochs=2, batchnorm_only=True)
    before = {k: v.clone() for k, v in run.suffix.state_dict().items()}
    affine = {
        f"{name}.{kind}" for name, module in run.suffix.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d) for kind in ("weight", "bias")
    }  # fmt: skip
    statistics = {key for key in before if "running" in key or "num_batches" in key}
    train(run)
    head = {"head.linear.weight", "head.linear.bias"}
    assert len(affine) == 8  # 3 in the last inverted residual, 1 in the last convolution
    assert changed(before, run.suffix.state_dict()) == affine | statistics | head


def test_trainable_parameters_are_those_in_scope(folder, backbone):
    network = network_of(folder, backbone, 1, scope="batchnorm")
    # the last block of MobileNetV2: BatchNorm of 1280 channels; the head: 4 x 1280 + 4
    assert network.trainable_by_block() == {"features18": 2 * 1280, "head": 5124}
    assert network.trainable()["trainable_parameters"] == 2560 + 5124
    whole = network_of(folder, backbone, 1).trainable()
    # 320 x 1280 weights of the convolution as well
    assert whole["trainable_parameters"] == 2560 + 5124 + 320 * 1280
    assert whole["trainable_percent"] == pytest.approx(
        network.trainable()["trainable_percent"] * (2560 + 5124 + 409600) / (2560 + 5124), rel=1e-3
    )


def test_the_moving_average_is_what_is_judged_and_kept(folder, backbone, fabric):
    run = make_run(folder, backbone, fabric, ema_decay=0.9)
    outcome = train(run)
    assert not changed(outcome.last, run.average.module.state_dict())
    assert "head.linear.weight" in changed(outcome.last, run.suffix.state_dict())
    plain = train(make_run(folder, backbone, fabric))
    assert [r["loss"] for r in outcome.rows[::2]] == [r["loss"] for r in plain.rows[::2]]  # train
    assert [r["loss"] for r in outcome.rows[1::2]] != [r["loss"] for r in plain.rows[1::2]]  # val


def test_every_block_has_its_own_rate(folder, backbone, fabric):
    run = make_run(folder, backbone, fabric, trained=2, layer_decay=0.5, lr=0.1)
    set_learning_rate(run.optimizer, 0.1)
    rates = [(group["lr"], len(group["params"])) for group in run.optimizer.param_groups]
    assert [rate for rate, _ in rates] == pytest.approx([0.025, 0.05, 0.1])
    assert rates[1][1] == 3 and rates[2][1] == 2  # convolution, scale, shift; weight, bias


def test_the_rate_is_constant_in_the_warmup_then_a_half_cosine(folder, backbone, fabric):
    run = make_run(folder, backbone, fabric, epochs=6, warmup=2, lr=0.1)
    rates = [learning_rate(run, done) for done in (0, 2, 4, 6)]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0])


def test_batches_differ_by_one_image_at_most():
    batches = split_evenly(np.arange(33), 8)
    assert sorted(len(b) for b in batches) == [6, 6, 7, 7, 7]
    assert list(np.concatenate(batches)) == list(range(33))


@pytest.mark.parametrize("trained", [0, 1, 3, BLOCKS])
def test_the_deployed_path_equals_the_embedded_path(folder, backbone, fabric, trained):
    """Tensors through the whole network give what stored half-precision activations give."""
    network = network_of(folder, backbone, trained)
    positions = np.arange(48)
    tensors = Tensors(folder / "tensors")
    prefix = fold_batchnorm(network.prefix, torch.float32)
    deployed = predict(
        network.suffix, Pixels(tensors, prefix, torch.float32, IMAGENET), positions, fabric, 16
    )
    if trained == BLOCKS:
        source = FreshViews(tensors, prefix, torch.float32, IMAGENET, Augmentation(AUGMENT))
        stored = predict(network.suffix, source, positions, fabric, 7)
    else:
        stored = predict(network.suffix, stored_views(folder, network), positions, fabric, 7)
    # half precision keeps 11 bits: 2^-11 of a value, a few layers of it in a logit
    assert torch.allclose(stored, deployed, rtol=2e-3, atol=2e-3)
    assert (stored.argmax(1) == deployed.argmax(1)).all()


def test_views_depend_on_seed_key_and_number_alone(folder):
    augmentation = Augmentation(AUGMENT)
    image = np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32)
    first = augmentation.view(image, "a", 1)
    assert not np.array_equal(first, augmentation.view(image, "a", 2))
    assert not np.array_equal(first, augmentation.view(image, "b", 1))
    assert np.array_equal(first, Augmentation(AUGMENT).view(image, "a", 1))
    assert np.array_equal(image, augmentation.view(image, "a", 0))
    other = Augmentation(AUGMENT.model_copy(update={"seed": 1}))
    assert not np.array_equal(first, other.view(image, "a", 1))


@pytest.mark.parametrize(
    ("trained", "changes", "stored", "reason"),
    [
        (0, {}, True, "views of every image"),
        (BLOCKS, {}, False, "nothing is frozen"),
        (0, {"views": 0}, False, "embed.views is 0"),
        (0, {"budget_gb": 1e-6}, False, "exceed embed.budget_gb"),
        (17, {}, False, "would gain only"),
        (17, {"store": "always"}, True, "embed.store is always"),
        (0, {"store": "never"}, False, "embed.store is never"),
    ],
)
def test_storing_is_decided_by_arithmetic(folder, backbone, trained, changes, stored, reason):
    params = EMBED.model_copy(update={"store": "auto", **changes})
    network = network_of(folder, backbone, trained)
    decision = plan(network.prefix, network.suffix, 64, 400, params)
    assert decision.stored is stored
    assert reason in decision.reason
    if trained == 0 and "views" not in changes:
        assert decision.total_bytes == 400 * 3 * 1280 * 2


def test_a_suffix_is_read_back_with_its_facts_and_refused_for_other_weights(tmp_path):
    state = {"head.linear.weight": torch.randn(4, 8), "a": torch.zeros(1)}
    for name in ("one", "two"):
        facts = {"backbone_sha256": "f" * 64, "epoch": 3, "classes": CLASSES}
        save_suffix(state, facts, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read, facts = load_suffix(tmp_path / "one")
    assert not changed(state, read)
    check_backbone(facts, "f" * 64, tmp_path / "one")
    with pytest.raises(UserError, match="belongs to the backbone weights ffff"):
        check_backbone(facts, "0" * 64, tmp_path / "one")
