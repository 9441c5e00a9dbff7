"""The whole of params.yaml is judged before anything runs."""

import copy
import math
from pathlib import Path

import pytest

from mammo.check.parameters import check_params
from mammo.errors import UserError
from mammo.params import read_params
from mammo.renamed import RENAMED, renamed_keys
from support.params import change


def test_the_committed_params_are_sound(values):
    check_params(values)


def test_a_strategy_of_ones_own_is_sound(values):
    change(values, "strategies.last_three_blocks", dict(values["strategies"]["last_block"]))
    change(values, "strategies.last_three_blocks.unfreeze_last_blocks", 3)
    check_params(values)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("trian", {}, r"params\.yaml: trian: unknown section"),
        ("train.lr", 1, r"params\.yaml: train\.lr: unknown key"),
        ("train.batch_size", 0, r"params\.yaml: train\.batch_size: .*greater than.*got 0"),
        ("train.batch_size", "many", r"train\.batch_size: .*valid integer.*got 'many'"),
        ("strategy", "half", r"strategy: must be one of probe, .*, full, got 'half'"),
        ("strategies", {}, "strategies: must be a mapping with at least one"),
        ("strategies.ensemble", {}, r"strategies\.ensemble: must be a plain word"),
        ("strategies.a-b", {}, r"strategies\.a-b: must be a plain word"),
        ("strategies.full.lr", -1, r"strategies\.full\.lr: .*greater than 0.*got -1"),
        ("strategies.full.momentum", 1, r"strategies\.full\.momentum: unknown key"),
        ("strategies.last_block.unfreeze_last_blocks", 10, "at most 9"),
        ("balancing.effective_beta", 1, r"effective_beta: .*less than 1"),
        ("loss.tau", 0, r"loss\.tau: .*greater than 0"),
        ("loss.label_smoothing", 1, r"loss\.label_smoothing: .*less than 1"),
        ("split.val_fold", 0, "val_fold and test_fold must differ"),
        ("backbone.arch", "resnet19", r"backbone\.arch: .*must be one of .*resnet18"),
        ("backbone.weights", "file", "file must name a weights file"),
        ("collapse.action", "ignore", r"collapse\.action"),
        ("strategies", {False: {}}, r"strategies\.False: must be text, got False, as YAML reads"),
        ("ensemble.strategies", [["probe"], "full"], r"must be among probe, .*, got \['probe'\]"),
        ("split.val_fold", True, r"split\.val_fold: must be a number, not true.*, got True"),
        ("train.weight_decay", False, r"weight_decay: must be a number, not true.*, got False"),
        ("dataset.labels.A", False, r"dataset\.labels\.A: .*got False; put it in quotes"),
        ("dataset.labels.A", "E", r"must map to A, B, C, D, got 'E' for 'A'"),
        ("dataset.columns.image", "a/{b.dcm", r"columns\.image: must close each .*got 'a/{b.dcm'"),
        ("dataset.columns.image", "{}.dcm", r"columns\.image: must close each \{"),
        ("dataset.key_file", ["a"], r"key_file: .*valid string, got \['a'\]$"),
        ("split.seed", 2**32, r"split\.seed: must be at most 4294967295, got 4294967296"),
        ("loss", "focal", r"loss: must be a mapping of its keys, got 'focal'"),
        ("balancing.weighted_sampler", "Auto", r"balancing\.weighted_sampler: .* boolean"),
    ],
)
def test_a_fault_anywhere_is_refused_and_named(values, key, value, complaint):
    change(values, key, value)
    with pytest.raises(UserError, match=complaint):
        check_params(values)


def test_missing_strategies_are_one_fault(values):
    change(values, "strategies", {})
    with pytest.raises(UserError) as raised:
        check_params(values)
    assert str(raised.value) == (
        "params.yaml: strategies: must be a mapping with at least one strategy"
    )


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


def test_a_metric_that_is_not_measured_is_refused_before_anything_runs(values):
    change(values, "compare.tested_metrics", ["kappa", "nonsense"])
    with pytest.raises(UserError, match=r"compare\.tested_metrics\.1: .*'nonsense'"):
        check_params(values)


def numbers(values, key=""):
    for name, value in values.items():
        here = f"{key}.{name}" if key else str(name)
        if isinstance(value, dict):
            yield from numbers(value, here)
        elif type(value) in (int, float):
            yield here


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_no_number_may_be_infinite_or_none_at_all(values, value):
    keys = list(numbers(values))
    assert len(keys) > 60
    for key in keys:
        damaged = copy.deepcopy(values)
        change(damaged, key, value)
        with pytest.raises(UserError) as raised:
            check_params(damaged)
        assert f"params.yaml: {key}: " in str(raised.value)


def keys_of(values, key=""):
    for name, value in values.items():
        here = f"{key}.{name}" if key else str(name)
        yield here
        if isinstance(value, dict) and name not in ("strategies", "labels", "class_shares"):
            yield from keys_of(value, here)


def test_an_old_params_yaml_is_told_what_became_of_each_key(values):
    """Whoever removes a key of params.yaml says in `mammo.renamed` what takes its place."""
    old = read_params(Path(__file__).parents[1] / "support/earlier/params.yaml")
    gone = set(keys_of(old)) - set(keys_of(values))
    told = {key for key, _ in renamed_keys(old)}
    covered = {key for key in gone if any(key == t or key.startswith(f"{t}.") for t in told)}
    assert gone == covered
    with pytest.raises(UserError) as raised:
        check_params(old)
    lines = str(raised.value).splitlines()
    for key in told:
        assert [line for line in lines if line.startswith(f"params.yaml: {key}:")]
    assert not [line for line in lines if "unknown key" in line or "unknown section" in line]
    assert any("collapse.warning_excess" in line for line in lines)


def test_no_key_that_is_renamed_is_still_in_use(values):
    assert not dict(renamed_keys(values))
    assert all(advice[0].islower() for advice in RENAMED.values())
