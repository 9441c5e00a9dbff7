"""The whole of params.yaml is judged before anything runs."""

import copy

import pytest

from mammo.check import check_params
from mammo.errors import UserError
from mammo.params import load_leaf, load_params, read_params
from mammo.training.params import TrainParams


@pytest.fixture
def values():
    return copy.deepcopy(read_params())


def change(values, key, value):
    *parents, last = key.split(".")
    for parent in parents:
        values = values[parent]
    values[last] = value


def test_the_committed_params_are_sound(values):
    check_params(values)


def test_every_shipped_strategy_is_sound_also_the_one_switched_off(values):
    entry = dict(train_backbone=False, unfreeze_last_blocks=2, lr=1e-4, epochs=10, warmup_epochs=2)
    change(values, "strategies.last_two_blocks", entry)
    check_params(values)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("trian", {}, r"params\.yaml: trian: unknown section"),
        ("train.lr", 1, r"params\.yaml: train\.lr: unknown key"),
        ("train.batch_size", 0, r"params\.yaml: train\.batch_size: .*greater than.*got 0"),
        ("train.batch_size", "many", r"train\.batch_size: .*valid integer.*got 'many'"),
        ("strategy", "half", r"strategy: must be one of head_only, last_block, full, got 'half'"),
        ("strategies", {}, "strategies: must be a mapping with at least one"),
        ("strategies.ensemble", {}, r"strategies\.ensemble: must be a plain word"),
        ("strategies.a-b", {}, r"strategies\.a-b: must be a plain word"),
        ("strategies.full.lr", -1, r"strategies\.full\.lr: .*greater than 0.*got -1"),
        ("strategies.full.momentum", 1, r"strategies\.full\.momentum: unknown key"),
        ("strategies.last_block.unfreeze_last_blocks", 10, "at most 9"),
        ("balancing.class_weights", True, "double balancing"),
        ("balancing.effective_beta", 0.99, "double balancing"),
        ("balancing.effective_beta", 1, r"effective_beta: .*less than 1"),
        (
            "loss.name",
            "balanced_softmax",
            r"loss\.name.*sampler has made up.*weighted_sampler: false",
        ),
        (
            "loss.name",
            "logit_adjusted",
            r"loss\.name.*sampler has made up.*weighted_sampler: false",
        ),
        ("loss.tau", 0, r"loss\.tau: .*greater than 0"),
        ("loss.label_smoothing", 1, r"loss\.label_smoothing: .*less than 1"),
        ("split.val_fold", 0, "val_fold and test_fold must differ"),
        ("backbone.arch", "resnet19", r"backbone\.arch: .*must be one of .*resnet18"),
        ("backbone.weights", "file", "file must name a weights file"),
        ("collapse.action", "ignore", r"collapse\.action"),
    ],
)
def test_a_fault_anywhere_is_refused_and_named(values, key, value, complaint):
    change(values, key, value)
    with pytest.raises(UserError, match=complaint):
        check_params(values)


def test_a_missing_key_or_section_is_named(values):
    del values["train"]["seed"]
    del values["embed"]
    with pytest.raises(UserError) as raised:
        check_params(values)
    assert "params.yaml: train.seed: missing" in str(raised.value)
    assert "params.yaml: embed: missing" in str(raised.value)


def test_all_faults_are_listed_at_once(values):
    change(values, "train.batch_size", 0)
    change(values, "embed.views", -1)
    change(values, "strategies.full.epochs", 0)
    with pytest.raises(UserError) as raised:
        check_params(values)
    assert len(str(raised.value).splitlines()) == 3


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    with pytest.raises(UserError, match="not found"):
        read_params(path)
    path.write_text("a: [1")
    with pytest.raises(UserError, match="not valid YAML"):
        read_params(path)
    path.write_text("- 1")
    with pytest.raises(UserError, match="must be a mapping"):
        read_params(path)


def test_a_section_or_leaf_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("strategy: a\ntrain: {seed: x}")
    with pytest.raises(UserError, match=r"train\.batch_size: missing"):
        load_params("train", TrainParams, path)
    with pytest.raises(UserError, match=r"strategies\.a: missing; there are strategy, train"):
        load_params("strategies.a", TrainParams, path)
    assert load_leaf("strategy", str, path) == "a"
    with pytest.raises(UserError, match=r"train\.seed: .*valid integer.*got 'x'"):
        load_leaf("train.seed", int, path)


@pytest.mark.parametrize(("key", "value"), [("class_weights", True), ("effective_beta", 0.99)])
def test_an_adjusted_loss_stands_alone_unless_double_is_allowed(values, key, value):
    change(values, "balancing.weighted_sampler", False)
    change(values, "loss.name", "logit_adjusted")
    check_params(values)
    change(values, f"balancing.{key}", value)
    with pytest.raises(UserError, match=r"loss\.name.*weights has made up for already"):
        check_params(values)
    change(values, "balancing.allow_double", True)
    check_params(values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("balancing.class_weights", True),
        ("balancing.effective_beta", 0.99),
        ("loss.name", "logit_adjusted"),
    ],
)
def test_a_head_re_trained_on_balanced_sampling_goes_with_no_other_remedy(values, key, value):
    change(values, "train.retrain_head_epochs", 5)
    check_params(values)  # the sampler in the first training isn't a second remedy
    change(values, "balancing.weighted_sampler", False)
    check_params(values)
    change(values, key, value)
    with pytest.raises(UserError, match=r"train\.retrain_head_epochs: .*there twice"):
        check_params(values)


def test_the_ordinal_loss_goes_with_any_remedy(values):
    change(values, "loss.name", "corn")
    check_params(values)
    change(values, "loss.label_smoothing", 0.1)
    with pytest.raises(UserError, match="label_smoothing spreads the target"):
        check_params(values)


def test_images_of_a_size_that_the_architecture_does_not_take_are_refused(values):
    values["backbone"] |= {"arch": "vit_b_16", "weights": "random"}
    values["preprocess"]["size_px"] = 224
    check_params(values)
    values["preprocess"]["size_px"] = 256
    with pytest.raises(
        UserError, match=r"preprocess\.size_px: must be 224 with .*vit_b_16, got 256"
    ):
        check_params(values)
