"""params.yaml is read as YAML, and what is no sound file is refused by name."""

import pytest

from mammo.errors import UserError
from mammo.params import load_leaf, load_params, read_params
from mammo.training.params import TrainParams


def assert_refused(folder, content, complaint):
    path = folder / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        read_params(path)


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


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train: {seed: 0}\nloss: {}\ntrain: {seed: 1}\n", r"line 3: 'train' stands there twice"),
        ("train:\n  seed: 0\n  seed: 1\n", r"line 3: 'seed' stands there twice"),
        ("a: 2020-13-41\n", r"not valid YAML: month must be in 1\.\.12"),
        (f"a: {'9' * 5000}\n", "not valid YAML: Exceeds the limit"),
    ],
)
def test_a_key_that_stands_twice_and_a_value_that_is_none_are_refused(tmp_path, text, complaint):
    assert_refused(tmp_path, text.encode(), complaint)


def test_a_merged_mapping_may_be_overridden(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: *b, x: 4}\n")
    assert read_params(path)["c"] == {"x": 4, "y": 3}


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


BOMB = b"a0: &a0 [x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"a: " + b"[" * 3000 + b"]" * 3000, "nested deeper than 50|not valid YAML"),
        (b"".join(b"%sa: {\n" % (b" " * n) for n in range(3000)) + b"}" * 3000, "at most"),
        (b"a: caf\xe9\n", "must be UTF-8, got byte 0xe9 in line 1"),
        ("a: café".encode("utf-16"), "must be UTF-8"),
        (BOMB, "unfolds to more than"),
        (b"a: " + b"x" * 2**21, "at most"),
    ],
)  # fmt: skip
@pytest.mark.timeout(60)  # unfolded, the worst would fill the memory for hours
def test_a_file_made_to_exhaust_is_refused(tmp_path, text, complaint):
    assert_refused(tmp_path, text, complaint)


def test_aliases_in_moderation_are_read(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: &a {lr: 1}\nb: {<<: *a, c: 2}\nd: *a\n")
    assert read_params(path) == {"a": {"lr": 1}, "b": {"lr": 1, "c": 2}, "d": {"lr": 1}}
