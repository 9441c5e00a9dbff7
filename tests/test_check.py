"""The whole of params.yaml is judged before anything runs."""

import copy
import math
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mammo.check import check_inputs, check_params, note_parameters
from mammo.errors import UserError
from mammo.params import load_leaf, load_params, read_params
from mammo.renamed import RENAMED, renamed_keys
from mammo.storage.files import read_json
from mammo.training.params import TrainParams
from support.read_only import run_beside_read_only

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


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


SHAPES_ONE = ["strategies.full.lr"]
SHAPES_ALL = [
    "train.seed", "phantom.seed", "evaluate.patient", "compute.threads", "loss.name", "embed.views",
    "ingest.workers", "dicom.max_pixels",
]  # fmt: skip
SHAPES_NONE = ["compare.draws", "review.picture_px", "sheet.thumbnail_px", "bundle.coverage"]


@pytest.mark.parametrize("key", [*SHAPES_ONE, *SHAPES_ALL, *SHAPES_NONE])
def test_parameters_are_named_anew_where_they_shape_the_answers(values, tmp_path, key):
    note_parameters(values, tmp_path / "before")
    change(values, key, "another")
    note_parameters(values, tmp_path / "after")
    before, after = (
        {name: read_json(tmp_path / when / f"{name}.json") for name in values["strategies"]}
        for when in ("before", "after")
    )
    changed = {name for name in before if before[name] != after[name]}
    assert changed == (set(before) if key in SHAPES_ALL else {"full"} & set(key.split(".")))


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


@pytest.mark.parametrize(
    ("key", "value"), [("balancing.class_weights", "balanced"), ("balancing.effective_beta", 0.99)]
)
def test_a_second_remedy_beside_the_sampler_is_refused(values, key, value):
    change(values, key, value)
    check_params(values)  # a sampler that is `auto` gives way
    change(values, "balancing.weighted_sampler", True)
    with pytest.raises(UserError, match="double balancing"):
        check_params(values)


@pytest.mark.parametrize("loss", ["balanced_softmax", "logit_adjusted"])
def test_a_loss_that_adjusts_goes_with_no_sampler_and_no_ordinal_head(values, loss):
    change(values, "loss.name", loss)
    with pytest.raises(
        UserError, match=rf"head\.model: must be multinomial with loss\.name: {loss}"
    ):
        check_params(values)
    change(values, "head.model", "multinomial")
    change(values, "balancing.weighted_sampler", True)
    with pytest.raises(
        UserError, match=r"loss\.name.*sampler has made up.*weighted_sampler: false"
    ):
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
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint):
        read_params(path)


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


@pytest.mark.parametrize(
    ("key", "value"), [("class_weights", "balanced"), ("effective_beta", 0.99)]
)
def test_an_adjusted_loss_stands_alone_unless_double_is_allowed(values, key, value):
    change(values, "balancing.weighted_sampler", False)
    change(values, "head.model", "multinomial")
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
        ("balancing.class_weights", "balanced"),
        ("balancing.effective_beta", 0.99),
        ("loss.name", "logit_adjusted"),
    ],
)
def test_a_head_re_trained_on_balanced_sampling_goes_with_no_other_remedy(values, key, value):
    change(values, "head.model", "multinomial")
    change(values, "train.retrain_head_epochs", 5)
    check_params(values)  # the sampler in the first training isn't a second remedy
    change(values, "balancing.weighted_sampler", False)
    check_params(values)
    change(values, key, value)
    with pytest.raises(UserError, match=r"train\.retrain_head_epochs: .*there twice"):
        check_params(values)


@pytest.mark.parametrize(
    ("classes", "weights", "said"),
    [
        (
            "a_b_c_d",
            [21.2, 2.3, 1],
            r"must be one weight .* 4 classes .*\(A, B, C, D\), got 3",
        ),
        ("ab_cd", [1, 2, 3, 4], r"must be one weight .* 2 classes .*\(AB, CD\), got 4"),
        ("a_b_c_d", [1, 2, 0, 4], r"balancing\.class_weights\.2: .*greater than 0, got 0"),
    ],
)
def test_given_class_weights_are_one_a_class_and_above_0(values, classes, weights, said):
    change(values, "dataset.classes", classes)
    change(values, "balancing.weighted_sampler", False)
    change(values, "balancing.class_weights", [1.0] * (2 if classes == "ab_cd" else 4))
    check_params(values)
    change(values, "balancing.class_weights", weights)
    with pytest.raises(UserError, match=said):
        check_params(values)


def test_a_metric_that_is_not_measured_is_refused_before_anything_runs(values):
    change(values, "compare.tested_metrics", ["kappa", "nonsense"])
    with pytest.raises(UserError, match=r"compare\.tested_metrics\.1: .*'nonsense'"):
        check_params(values)


def test_the_ordinal_loss_goes_with_any_remedy(values):
    change(values, "loss.name", "corn")
    with pytest.raises(UserError, match=r"strategies\.probe\.head: must be gradient"):
        check_params(values)
    for strategy in values["strategies"].values():
        strategy["head"] = "gradient"
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
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(UserError, match=complaint):
        read_params(path)


def test_aliases_in_moderation_are_read(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: &a {lr: 1}\nb: {<<: *a, c: 2}\nd: *a\n")
    assert read_params(path) == {"a": {"lr": 1}, "b": {"lr": 1, "c": 2}, "d": {"lr": 1}}


def keys_of(values, key=""):
    for name, value in values.items():
        here = f"{key}.{name}" if key else str(name)
        yield here
        if isinstance(value, dict) and name not in ("strategies", "labels", "class_shares"):
            yield from keys_of(value, here)


def test_an_old_params_yaml_is_told_what_became_of_each_key(values):
    """Whoever removes a key of params.yaml says in `mammo.renamed` what takes its place."""
    old = read_params(Path(__file__).parent / "support/earlier/params.yaml")
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


@pytest.fixture
def own(values, tmp_path):
    """Make params.yaml name a data set of one's own, all of it there."""
    (tmp_path / "images/deep").mkdir(parents=True)
    (tmp_path / "labels.csv").write_text("image_path\n")
    (tmp_path / "dataset.key").write_text("k" * 40)
    change(values, "dataset.root", str(tmp_path / "images"))
    change(values, "dataset.table", str(tmp_path / "labels.csv"))
    change(values, "dataset.key_file", str(tmp_path / "dataset.key"))
    return values


def test_what_params_name_is_found_and_noted(own, values, tmp_path):
    assert check_inputs(own) == {
        "dataset.key_file": tmp_path / "dataset.key",
        "backbone.file": None,
    }
    change(own, "dataset.key_file", "public")
    assert check_inputs(own)["dataset.key_file"] is None


def test_the_phantom_need_not_be_drawn_yet(values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corrections.csv").write_text("key,old,new,who,when\n")
    check_inputs(values)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"dataset.root": "/no/such"}, r"dataset\.root: no such folder, got '/no/such'"),
        ({"dataset.table": "/no/table"}, r"dataset\.table: no such file, got '/no/table'"),
        ({"dataset.key_file": "/no/key"}, r"dataset\.key_file: no such file.*token_hex"),
        ({"dataset.key_file": None}, r"dataset\.key_file: needed for .*images"),
        (
            {"backbone.weights": "file", "backbone.file": "/no/w.pth"},
            r"backbone\.file: no such file, got '/no/w.pth'",
        ),
    ],
)
def test_what_params_name_and_is_not_there_is_refused_before_anything_runs(own, changes, complaint):
    for key, value in changes.items():
        change(own, key, value)
    with pytest.raises(UserError, match=complaint):
        check_inputs(own)


@pytest.fixture
def checkout(values, tmp_path):
    """A folder in which stage check runs: the committed params.yaml, and what it names."""

    def write(**changes):
        for key, value in changes.items():
            change(values, key.replace("__", "."), value)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        (tmp_path / "corrections.csv").write_text("key,old,new,who,when\n")
        (tmp_path / "data").mkdir()
        return [sys.executable, str(ROOT / "stages/check.py")]

    return write


@pytest.mark.parametrize(
    "text",
    [
        "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 9\n",
        "<!DOCTYPE html>\n<title>Sign in</title>",
        "Rate limit exceeded",  # the unpickler reads an R as an order, and fails on it
        "",
    ],
)
def test_a_pth_of_text_ends_the_check_with_one_line(checkout, tmp_path, text):
    weights = tmp_path / "theirs.pth"
    weights.write_text(text)
    command = checkout(backbone__weights="file", backbone__file=str(weights))
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(
        f"error: {weights}: backbone.file must be what torch.save writes, got text that begins "
        f"with {text.splitlines()[0] if text else ''!r}; "
    )
    assert "download the file anew" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data/check.txt").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_no_text(own, tmp_path, zipped):
    torch.save(
        {"weight": torch.zeros(3)},
        tmp_path / "w.pth",
        _use_new_zipfile_serialization=zipped,
    )
    change(own, "backbone.weights", "file")
    change(own, "backbone.file", str(tmp_path / "w.pth"))
    assert check_inputs(own)["backbone.file"] == tmp_path / "w.pth"


def test_a_read_only_folder_ends_the_check_with_one_line(checkout, tmp_path):
    command = checkout()
    done = run_beside_read_only(tmp_path / "data", command, tmp_path, ENVIRONMENT)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert re.match(
        r"error: data/\S+: (Read-only file system: .*write to another one"
        r"|Permission denied: check the permissions); the traceback is in logs/",
        done.stderr,
    ), done.stderr
    assert "Traceback" not in done.stderr and not list((tmp_path / "data").iterdir())


def test_a_fifo_and_a_socket_below_the_root_are_refused_by_name(own, tmp_path):
    os.mkfifo(tmp_path / "images/deep/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        try:
            server.bind("images/socket")
        finally:
            os.chdir(ROOT)
        with pytest.raises(UserError) as raised:
            check_inputs(own)
    assert "images/deep/pipe: is a FIFO" in str(raised.value)
    assert "images/socket: is a socket" in str(raised.value)


@pytest.mark.parametrize("module", ["mammo.check", "mammo.stage"])
def test_check_imports_nothing_that_takes_seconds(module):
    heavy = "torch torchvision sklearn cv2 pandas scipy albumentations dask joblib"
    code = (
        f"import sys, {module}, mammo.storage.outside; "
        f"print([m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


# With torch a stage of a second takes fourteen; torch's compiler, which torchvision and Fabric
# import, makes it two seconds more.
COMPILER = "torchvision lightning_fabric torch._dynamo sympy"


@pytest.mark.parametrize(
    ("script", "heavy"),
    [
        ("check", "torch torchvision sklearn scipy cv2"),
        ("report", "torch torchvision sklearn scipy cv2"),
        ("embed", COMPILER),
        ("train", COMPILER),
        ("evaluate", f"{COMPILER} albumentations"),
        ("bundle", f"{COMPILER} albumentations"),
        ("review", f"{COMPILER} albumentations"),
    ],
)
def test_stages_import_nothing_that_takes_seconds_and_is_not_needed(script, heavy):
    """Their imports alone are run."""
    code = (
        f"import sys, runpy; runpy.run_path('stages/{script}.py', run_name='imported'); "
        f"print([m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
