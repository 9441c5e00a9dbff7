"""Training: warm-up and release, resuming, collapse, and one answer on every path."""

import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch.nn.functional import one_hot

from mammo.embedding.augment import Augmentation
from mammo.embedding.sources import FlippedPixels, FreshViews, Pixels
from mammo.errors import UserError
from mammo.evaluation.inference import Answers, mean_probabilities, predict, split_evenly
from mammo.evaluation.suffix_file import check_backbone, load_suffix, save_suffix
from mammo.network.compute import compile_module
from mammo.network.devices import start_fabric
from mammo.network.params import BackboneParams
from mammo.network.strategies import fold_batchnorm
from mammo.storage.tensors import Tensors
from mammo.training import loop
from mammo.training.job import learning_rate
from mammo.training.optimizers import make_optimizer, set_learning_rate
from mammo.training.outcome import best_order
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
    return start_fabric(COMPUTE)


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


@pytest.mark.slow
def test_only_the_head_trains_in_the_warmup_and_everything_after_it(folder, backbone, fabric):
    states = [
        {k: v.clone() for k, v in network_of(folder, backbone, 2).suffix.state_dict().items()}
    ]

    def remember(row):
        if row["split"] == "val":
            states.append({k: v.clone() for k, v in run.suffix.state_dict().items()})

    held = dict(epochs=3, warmup_epochs=2)
    run = make_run(folder, backbone, fabric, strategy=held, record=remember)
    run.train()
    head = {"head.linear.weight", "head.linear.bias"}
    assert changed(states[0], states[1]) == head
    assert changed(states[1], states[2]) == head
    assert changed(states[2], states[3]) == set(states[0])  # BatchNorm's statistics included


@pytest.mark.slow
def test_training_learns_what_can_be_learnt(folder, backbone, fabric):
    tensors, whole = Tensors(folder / "tensors"), network_of(folder, backbone, BLOCKS)
    source = FreshViews(tensors, whole.prefix, torch.float32, Augmentation(AUGMENT))
    longer = dict(epochs=40, lr=3e-3)
    run = make_run(folder, backbone, fabric, trained=BLOCKS, source=source, strategy=longer)
    outcome = run.train()
    assert max(row["kappa"] for row in outcome.rows if row["split"] == "val") > 0.5


@pytest.mark.slow
def test_two_runs_are_bit_identical(folder, backbone, fabric):
    first, second = (make_run(folder, backbone, fabric).train() for _ in range(2))
    assert first.rows == second.rows
    assert not changed(first.last, second.last)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler"
)
def test_a_compiled_suffix_trains_as_the_uncompiled_one_and_repeats(folder, backbone, fabric):
    """Through the warm-up, the release and the evaluation: at least a graph each."""
    counters.clear()
    compiled = []
    for _ in range(2):
        run = make_run(folder, backbone, fabric, trained=1, strategy=dict(epochs=2))
        compile_module(run.suffix, COMPUTE.model_copy(update={"compile": True}), CPU)
        compiled.append(run.train())
    assert counters["stats"]["unique_graphs"] >= 3
    plain = make_run(folder, backbone, fabric, trained=1, strategy=dict(epochs=2)).train()
    assert compiled[0].rows == compiled[1].rows
    assert set(compiled[0].last) == set(plain.last)
    for row, expected in zip(compiled[0].rows, plain.rows, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("stop_after", "ema_decay"), [(1, 0), (2, 0), (3, 0), (2, 0.9)])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    folder, backbone, fabric, tmp_path, stop_after, ema_decay
):
    options = dict(train=dict(ema_decay=ema_decay))
    whole = make_run(folder, backbone, fabric, **options).train()

    def interrupt(row):
        if row["split"] == "val" and row["epoch"] == stop_after + 1:
            raise KeyboardInterrupt

    progress = Progress(tmp_path, 0)
    victim = make_run(folder, backbone, fabric, record=interrupt, progress=progress, **options)
    with pytest.raises(KeyboardInterrupt):
        victim.train()
    rows = []
    options |= dict(record=rows.append, progress=Progress(tmp_path, 0))
    resumed = make_run(folder, backbone, fabric, **options)
    outcome = resumed.train()
    assert rows == outcome.rows == whole.rows
    assert not changed(outcome.last, whole.last)
    assert not changed(outcome.best.state, whole.best.state)


@pytest.mark.slow
def test_a_run_interrupted_with_all_epochs_done_trains_no_more(folder, backbone, fabric, tmp_path):
    whole = make_run(folder, backbone, fabric, progress=Progress(tmp_path, 0)).train()
    nothing = object()  # any batch would fail
    again = make_run(folder, backbone, fabric, progress=Progress(tmp_path, 0), source=nothing)
    outcome = again.train()
    assert outcome.rows == whole.rows
    assert not changed(outcome.last, whole.last)


def test_no_part_of_the_warmup_is_the_best_epoch(folder, backbone, fabric):
    held = dict(epochs=3, warmup_epochs=2)
    outcome = make_run(folder, backbone, fabric, strategy=held).train()
    assert outcome.best.epoch == 3


def test_the_best_epoch_is_first_by_bal_acc_adj_then_kappa_then_auc():
    def row(bal_acc_adj, kappa, auc):
        return {"bal_acc_adj": bal_acc_adj, "kappa": kappa, "auc_macro": auc, "classes_present": 4}

    rows = [row(0.5, 0.1, 0.9), row(0.4, 0.9, 0.9), row(0.5, 0.2, 0.1), row(0.5, 0.2, None)]
    assert max(rows, key=best_order) is rows[2]


@pytest.mark.slow
def test_the_last_epoch_is_kept_on_request_unless_it_has_collapsed(folder, backbone, fabric):
    last = make_run(folder, backbone, fabric, train=dict(keep="last")).train()
    collapsed = last.rows[-1]["status"] == "collapsed"
    assert last.best.epoch == 4 or collapsed
    fine = dict(collapsed_share=1.0, natural_share=0.0, collapsed_kappa=0.0)  # nothing collapses
    kept = make_run(folder, backbone, fabric, train=dict(keep="last"), collapse=fine).train()
    assert kept.best.epoch == 4 and not changed(kept.best.state, kept.last)
    everything = dict(collapsed_kappa=1.0, min_support=1, collapsed_share=0.2, patience=9)
    none = make_run(folder, backbone, fabric, train=dict(keep="last"), collapse=everything).train()
    plain = make_run(folder, backbone, fabric, collapse=everything).train()
    assert none.best.epoch == plain.best.epoch


@pytest.mark.slow
def test_an_early_sign_of_collapse_is_enough_not_to_keep_the_last_epoch(
    folder, backbone, fabric, monkeypatch
):
    """Kappa is low and classes are lost, though no class has nearly all answers."""
    run = make_run(folder, backbone, fabric, train=dict(keep="last"))
    right = torch.from_numpy(run.job.fold.labels[run.job.fold.val])
    answers = iter([right, right, *[(right + 1) % 4] * 2])
    monkeypatch.setattr(
        loop, "predict_validation", lambda job, suffix: 9.0 * one_hot(next(answers), 4)
    )
    outcome = run.train()
    assert outcome.rows[-1]["status"] == "warning"  # what the end of a training is called
    assert outcome.best.epoch == 2


class Constant(Blank):
    """Likewise, for a cut before the last block."""

    def train_batch(self, positions, draws):
        images = len(positions)
        return np.zeros((images, 320, 2, 2), np.float16), np.zeros((images, 0), np.float32)


def blank_run(folder, backbone, fabric, epochs, collapse=None, **options):
    strategy = dict(epochs=epochs, warmup_epochs=0, **options.pop("strategy", {}))
    return make_run(
        folder, backbone, fabric, trained=0, source=options.pop("source", Blank()),
        strategy=strategy, collapse=collapse or {}, **options,
    )  # fmt: skip


@pytest.mark.slow
def test_collapse_stops_or_fails_a_run_or_only_warns(folder, backbone, fabric, caplog):
    def run(action):
        collapse = dict(action=action, patience=2)
        return blank_run(folder, backbone, fabric, 6, collapse).train()

    warned = run("warn")
    assert len(warned.rows) == 12 and len(warned.alerts) == 1
    assert len(run("stop").rows) == 4
    with pytest.raises(CollapseError, match="mine: collapsed at epoch 2"):
        run("fail")


def test_an_alarm_and_every_epoch_are_logged_when_they_happen(folder, backbone, fabric, caplog):
    caplog.set_level("INFO")
    seen = []
    collapse = dict(action="warn", patience=2)
    blank_run(
        folder, backbone, fabric, 3, collapse, record=lambda row: seen.append(len(caplog.records))
    ).train()
    lines = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(r"epoch 1(  [A-D] \d+ %){4}  collapsed: .*", lines[0])
    alarm = next(n for n, line in enumerate(lines) if line.startswith("COLLAPSE: mine: collapsed"))
    assert alarm == 2  # after the lines of two epochs, before the third is trained
    assert seen[4] == 3


class Noting(Blank):
    """Likewise; notes which image each batch asks for, and by which draw."""

    def __init__(self):
        self.asked = []

    def train_batch(self, positions, draws):
        self.asked += zip(positions.tolist(), draws.tolist(), strict=True)
        return super().train_batch(positions, draws)

    def clean_batch(self, positions):
        return super().train_batch(positions, positions)  # validation isn't noted


def test_an_image_that_the_sampler_repeats_is_seen_in_another_view_each_time(
    folder, backbone, fabric
):
    fold = make_fold()
    fold.labels[fold.train] = np.repeat(np.arange(4), [2, 6, 8, 16])
    source = Noting()
    run = blank_run(
        folder, backbone, fabric, 1, fold=fold, source=source, balancing=dict(weighted_sampler=True)
    )
    run.train()
    images, draws = (np.array(each) for each in zip(*source.asked, strict=True))
    assert len(images) == 32 and set(images) <= set(fold.train)
    assert np.bincount(images).max() > 2  # class A's two images have 8 of 32 draws, on average
    for image in set(images):
        chosen = draws[images == image]
        assert len(set(chosen)) == len(chosen), f"image {image}"


def test_early_stopping_waits_for_a_better_epoch(folder, backbone, fabric):
    run = blank_run(folder, backbone, fabric, 9, train=dict(early_stopping_epochs=2))
    assert run.train().rows[-1]["epoch"] == 3


def test_with_one_class_in_val_the_loss_chooses_the_epoch(folder, backbone, fabric):
    fold = make_fold()
    fold.labels[fold.val] = 2
    outcome = make_run(folder, backbone, fabric, fold=fold).train()
    val = {row["epoch"]: row["loss"] for row in outcome.rows if row["split"] == "val"}
    released = {epoch: loss for epoch, loss in val.items() if epoch > 1}
    assert outcome.best.epoch == min(released, key=released.get)


def test_a_diverging_training_ends_with_the_learning_rate_named(folder, backbone, fabric):
    run = make_run(folder, backbone, fabric, strategy=dict(lr=1e30))
    with pytest.raises(UserError, match=r"strategies\.mine\.lr: the loss is not finite.*1e\+30"):
        run.train()


@pytest.mark.slow
def test_an_odd_set_in_batches_of_two_leaves_no_image_alone(folder, backbone, fabric):
    fold = replace(make_fold(), train=np.arange(15))
    run = make_run(folder, backbone, fabric, fold=fold, train=dict(batch_size=2), trained=1)
    assert len(run.train().rows) == 8
    assert min(map(len, split_evenly(np.arange(15), 2))) == 2


@pytest.mark.slow
def test_a_large_gradient_is_clipped(folder, backbone, fabric):
    def moved(clip_norm):
        run = make_run(
            folder, backbone, fabric, trained=1, train=dict(clip_norm=clip_norm, weight_decay=0),
            strategy=dict(epochs=1, warmup_epochs=0),
        )  # fmt: skip
        return run.train().last["head.linear.bias"]

    assert not torch.equal(moved(0), moved(1e-3))
    assert torch.equal(moved(1e6), moved(1e6))


def test_batchnorm_of_released_blocks_rests_on_request(folder, backbone, fabric):
    run = make_run(folder, backbone, fabric, train=dict(batchnorm="eval"))
    before = {k: v.clone() for k, v in run.suffix.state_dict().items()}
    outcome = run.train()
    statistics = {key for key in before if "running" in key or "num_batches" in key}
    moved = changed(before, outcome.last)
    assert statistics and not moved & statistics
    assert any("weight" in key for key in moved)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["cross_entropy", "corn", "balanced_softmax", "logit_adjusted"])
def test_without_information_a_loss_learns_the_prior_or_makes_up_for_it(
    folder, backbone, fabric, loss
):
    fold = make_fold()
    fold.labels[fold.train] = np.repeat(np.arange(4), [4, 4, 8, 16])
    run = blank_run(
        folder, backbone, fabric, 25, fold=fold, strategy=dict(lr=0.2), loss=dict(name=loss),
        balancing=dict(weighted_sampler=False), kind="corn" if loss == "corn" else "multinomial",
    )  # fmt: skip
    run.train()
    logits = predict(run.suffix, Blank(), np.arange(1), fabric, 1)
    adjusts = loss in ("balanced_softmax", "logit_adjusted")
    expected = [0.25] * 4 if adjusts else [0.125, 0.125, 0.25, 0.5]
    assert logits.softmax(dim=1)[0].tolist() == pytest.approx(expected, abs=0.03)
    assert run.suffix.head.linear.out_features == (3 if loss == "corn" else 4)


@pytest.mark.slow
def test_an_ordinal_head_learns_the_prior_by_gradient_too(folder, backbone, fabric):
    fold = make_fold()
    fold.labels[fold.train] = np.repeat(np.arange(4), [4, 4, 8, 16])
    run = blank_run(
        folder, backbone, fabric, 40, fold=fold, strategy=dict(lr=0.2), kind="ordinal",
        balancing=dict(weighted_sampler=False),
    )  # fmt: skip
    run.train()
    logits = predict(run.suffix, Blank(), np.arange(1), fabric, 1)
    assert logits.exp()[0].tolist() == pytest.approx([0.125, 0.125, 0.25, 0.5], abs=0.04)


@pytest.mark.slow
def test_a_re_trained_head_is_new_and_the_blocks_are_the_best_epochs(folder, backbone, fabric):
    rows = []
    run = make_run(
        folder, backbone, fabric, strategy=dict(epochs=3), train=dict(retrain_head_epochs=2),
        record=rows.append,
    )  # fmt: skip
    first = run.train()
    outcome = retrain_head(run.job, run.suffix, first)
    head = {"head.linear.weight", "head.linear.bias"}
    assert changed(first.best.state, outcome.last) == head
    assert changed(first.best.state, outcome.best.state) == head
    assert [row["epoch"] for row in outcome.rows[::2]] == [1, 2, 3, 4, 5]
    assert rows == outcome.rows
    assert outcome.best.epoch in (4, 5)
    assert outcome.rows[6]["lr"] == 1e-2  # the schedule starts again


@pytest.mark.slow
@pytest.mark.parametrize("batchnorm_only", [False, True])
def test_a_re_trained_head_leaves_the_count_of_what_was_trained(
    folder, backbone, fabric, tmp_path, batchnorm_only
):
    def trainable(suffix):
        return [name for name, p in suffix.named_parameters() if p.requires_grad]

    train = dict(retrain_head_epochs=1, batchnorm_only=batchnorm_only)
    for _ in ("at once", "gone on from its last epoch"):
        run = make_run(
            folder, backbone, fabric, strategy=dict(epochs=2), train=train,
            progress=Progress(tmp_path, 0),
        )  # fmt: skip
        before = trainable(run.suffix)
        retrain_head(run.job, run.suffix, run.train())
        assert trainable(run.suffix) == before


@pytest.mark.slow
def test_a_re_trained_head_starts_afresh(folder, backbone, fabric):
    """At a rate of nearly nothing, two heads only differ if one was initialised anew."""
    options = dict(strategy=dict(epochs=2, lr=1e-9), train=dict(retrain_head_epochs=1))
    run = make_run(folder, backbone, fabric, **options)
    first = run.train()
    fresh = retrain_head(run.job, run.suffix, first).last["head.linear.weight"]
    trained = first.last["head.linear.weight"]
    assert (fresh - trained).abs().mean() > 0.5 * trained.abs().mean()
    assert fresh.std().item() == pytest.approx(trained.std().item(), rel=0.1)


@pytest.mark.slow
def test_thresholds_start_afresh_too(folder, backbone, fabric):
    options = dict(strategy=dict(epochs=2, lr=1e-9), train=dict(retrain_head_epochs=1))
    run = make_run(folder, backbone, fabric, kind="ordinal", **options)
    thresholds = run.suffix.head.order
    fresh = thresholds.thresholds.clone()
    thresholds.place(torch.tensor([2.0, 5.0, 9.0]))
    first = run.train()
    retrain_head(run.job, run.suffix, first)
    assert first.last["head.order.steps"][0].item() == pytest.approx(2)
    assert torch.allclose(thresholds.thresholds, fresh, atol=1e-3)


@pytest.mark.slow
def test_a_re_trained_head_forgets_the_prior(folder, backbone, fabric):
    fold = make_fold()
    fold.labels[fold.train] = np.repeat(np.arange(4), [4, 4, 8, 16])
    run = blank_run(
        folder, backbone, fabric, 20, strategy=dict(lr=0.2), fold=fold,
        balancing=dict(weighted_sampler=False), train=dict(retrain_head_epochs=20),
    )  # fmt: skip
    first = run.train()
    again = retrain_head(run.job, run.suffix, first)
    prior, level = (o.last["head.linear.bias"].softmax(dim=0) for o in (first, again))
    assert prior.tolist() == pytest.approx([0.125, 0.125, 0.25, 0.5], abs=0.03)
    assert level.tolist() == pytest.approx([0.25] * 4, abs=0.06)


@pytest.mark.slow
def test_an_interrupted_re_training_ends_as_if_it_had_not_been(folder, backbone, fabric, tmp_path):
    def both(**options):
        run = make_run(
            folder, backbone, fabric, strategy=dict(epochs=2), train=dict(retrain_head_epochs=3),
            **options,
        )  # fmt: skip
        return retrain_head(run.job, run.suffix, run.train())

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


@pytest.mark.slow
def test_an_alert_of_a_re_training_counts_the_epochs_on_and_advises_on_the_head(
    folder, backbone, fabric
):
    run = make_run(
        folder, backbone, fabric, trained=1, source=Constant(), collapse=dict(patience=2),
        strategy=dict(epochs=2, lr=1e-9), train=dict(retrain_head_epochs=2),
    )  # fmt: skip
    (alert,) = retrain_head(run.job, run.suffix, run.train()).alerts
    assert "collapsed at epoch 4" in alert


@pytest.mark.slow
def test_a_training_stopped_for_collapse_is_not_re_trained(folder, backbone, fabric):
    collapse = dict(patience=2, action="stop")
    run = blank_run(folder, backbone, fabric, 6, collapse, train=dict(retrain_head_epochs=2))
    outcome = run.train()
    assert outcome.alerts and retrain_head(run.job, run.suffix, outcome) is outcome


def test_test_time_flips_average_the_probabilities_of_image_and_flip(folder, backbone, fabric):
    tensors, network = Tensors(folder / "tensors"), network_of(folder, backbone, 1)
    prefix = fold_batchnorm(network.prefix, torch.float32)
    sources = [kind(tensors, prefix, torch.float32) for kind in (Pixels, FlippedPixels)]
    upright, flipped = (source.clean_batch(np.arange(5))[0] for source in sources)
    assert (flipped == upright[:, ::-1, :]).all() and (flipped != upright).any()
    logits = [predict(network.suffix, source, np.arange(5), fabric, 5) for source in sources]
    one, other = (each.softmax(dim=1).numpy() for each in logits)
    assert mean_probabilities(logits) == pytest.approx((one + other) / 2, abs=1e-7)
    assert (mean_probabilities(logits[:1]) == one).all()  # without flips, not a bit changes


@pytest.mark.slow
def test_only_batchnorm_affine_parameters_and_the_head_train_on_request(folder, backbone, fabric):
    run = make_run(
        folder, backbone, fabric, strategy=dict(epochs=2), train=dict(batchnorm_only=True)
    )
    before = {k: v.clone() for k, v in run.suffix.state_dict().items()}
    affine = {
        f"{name}.{kind}" for name, module in run.suffix.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d) for kind in ("weight", "bias")
    }  # fmt: skip
    statistics = {key for key in before if "running" in key or "num_batches" in key}
    run.train()
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


@pytest.mark.slow
def test_the_moving_average_is_what_is_judged_and_kept(folder, backbone, fabric):
    run = make_run(folder, backbone, fabric, train=dict(ema_decay=0.9))
    outcome = run.train()
    assert "head.linear.weight" in changed(outcome.last, run.suffix.state_dict())
    plain = make_run(folder, backbone, fabric).train()
    assert [r["loss"] for r in outcome.rows[::2]] == [r["loss"] for r in plain.rows[::2]]  # train
    assert [r["loss"] for r in outcome.rows[1::2]] != [r["loss"] for r in plain.rows[1::2]]  # val


def test_every_block_has_its_own_rate(folder, backbone, fabric):
    optimizer = make_optimizer(network_of(folder, backbone, 2).suffix, 0.1, 0.01, 0.5)
    set_learning_rate(optimizer, 0.1)
    groups = [(g["lr"], len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups]
    # matrices, then scales and shifts without decay: of each block and of the head
    assert [rate for rate, _, _ in groups] == pytest.approx([0.025] * 2 + [0.05] * 2 + [0.1] * 2)
    assert [count for _, count, _ in groups[2:]] == [1, 2, 1, 1]
    assert [decay for _, _, decay in groups] == [0.01, 0] * 3


def test_the_rate_is_constant_in_the_warmup_then_a_half_cosine(folder, backbone, fabric):
    strategy = dict(epochs=6, warmup_epochs=2, lr=0.1)
    job = make_run(folder, backbone, fabric, strategy=strategy).job
    rates = [learning_rate(job, done) for done in (0, 2, 4, 6)]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0])


def test_the_rate_of_released_blocks_grows_over_the_ramp(folder, backbone, fabric):
    strategy = dict(epochs=6, warmup_epochs=2, lr=0.1)
    train = dict(ramp_epochs=2, schedule="constant")
    job = make_run(folder, backbone, fabric, strategy=strategy, train=train).job
    rates = [learning_rate(job, done) for done in (1, 2, 3, 4, 5)]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.1, 0.1])
    solved = make_run(
        folder, backbone, fabric, strategy={**strategy, "head": "solved"}, train=train
    )
    assert learning_rate(solved.job, 0) == 0  # nothing is held: the ramp begins at once


def test_batches_differ_by_one_image_at_most():
    batches = split_evenly(np.arange(33), 8)
    assert sorted(len(b) for b in batches) == [6, 6, 7, 7, 7]
    assert list(np.concatenate(batches)) == list(range(33))


@pytest.mark.parametrize("trained", [0, 1, 3, BLOCKS])
@pytest.mark.slow
def test_the_deployed_path_equals_the_embedded_path(folder, backbone, fabric, trained):
    """Tensors through the whole network give what stored half-precision activations give."""
    network = network_of(folder, backbone, trained)
    positions = np.arange(48)
    tensors = Tensors(folder / "tensors")
    prefix = fold_batchnorm(network.prefix, torch.float32)
    pixels = Pixels(tensors, prefix, torch.float32)
    deployed = predict(network.suffix, pixels, positions, fabric, 16)
    if trained == BLOCKS:
        source = FreshViews(tensors, prefix, torch.float32, Augmentation(AUGMENT))
        stored = predict(network.suffix, source, positions, fabric, 7)
    else:
        source = stored_views(folder, backbone, network, trained)
        stored = predict(network.suffix, source, positions, fabric, 7)
    # half precision keeps 11 bits: 2^-11 of a value, a few layers of it in a logit
    assert torch.allclose(stored, deployed, rtol=2e-3, atol=2e-3)
    assert (stored.argmax(1) == deployed.argmax(1)).all()


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
