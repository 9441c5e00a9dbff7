"""Folders that know themselves: damage is refused by whoever reads them."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.errors import UserError
from mammo.storage.files import read_json, read_table, whole_folder, write_json, write_table
from mammo.storage.keys import require_same, require_within
from mammo.storage.manifest import check_file, check_folder
from mammo.storage.tensors import Tensors, write_shards

SRC = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "tensors"
    folder.mkdir()
    arrays = [np.full((4, 5), i, np.uint8) for i in range(6)]
    write_shards(iter(arrays), [f"k{i}" for i in range(6)], folder, 45)
    assert len(list(folder.glob("shard-*.npy"))) == 3
    return folder


def flip(path, place=-3):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def test_sound_shards_open(shards):
    assert Tensors(shards).gather(np.arange(6))[:, 0, 0].tolist() == list(range(6))


def test_any_flipped_byte_of_any_file_is_refused_by_its_name(shards):
    for path in sorted(shards.iterdir()):
        for place in range(0, path.stat().st_size, 7):
            flip(path, place)
            with pytest.raises(UserError) as raised:
                Tensors(shards)
            assert str(path) in str(raised.value) or path.name == "manifest.json"
            flip(path, place)
    Tensors(shards)


def test_a_dropped_line_of_the_index_is_refused(shards):
    lines = (shards / "index.csv").read_text().splitlines(keepends=True)
    (shards / "index.csv").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"index\.csv: must have \d+ bytes, got"):
        Tensors(shards)


def test_a_cut_a_missing_and_an_unknown_shard_are_refused(shards):
    last = shards / "shard-00002.npy"
    content = last.read_bytes()
    last.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"shard-00002\.npy: must have"):
        Tensors(shards)
    last.unlink()
    with pytest.raises(UserError, match=r"shard-00002\.npy: is missing"):
        Tensors(shards)
    last.write_bytes(content)
    (shards / "shard-00003.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"shard-00003\.npy: isn't in"):
        Tensors(shards)


def test_a_store_without_a_manifest_or_of_another_format_is_refused(shards):
    manifest = shards / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(UserError, match="must have format 1, got 2"):
        Tensors(shards)
    manifest.write_text("{")
    with pytest.raises(UserError, match="isn't readable"):
        Tensors(shards)
    manifest.unlink()
    with pytest.raises(UserError, match="not found; run `dvc repro`"):
        Tensors(shards)


def test_a_store_inside_another_knows_itself(shards):
    inner = shards / "outline"
    inner.mkdir()
    write_shards(iter([np.zeros(3, np.uint8)]), ["k0"], inner, 100)
    Tensors(shards)
    flip(inner / "shard-00000.npy")
    with pytest.raises(UserError, match="outline/shard-00000"):
        Tensors(inner)


def test_a_table_in_a_folder_with_a_manifest_is_checked_when_it_is_read(tmp_path):
    target = tmp_path / "evaluation"
    table = pd.DataFrame({"key": ["a", "b"], "label": ["A", "B"]})
    with whole_folder(target, manifest=True) as folder:
        write_table(table, folder / "predictions.csv")
        write_json({"kappa": 0.5}, folder / "metrics.json")
    assert read_table(target / "predictions.csv").equals(table)
    assert read_json(target / "metrics.json") == {"kappa": 0.5}
    check_folder(target)
    write_table(pd.concat([table, table[1:]]), target / "predictions.csv")
    with pytest.raises(UserError, match=r"predictions\.csv: must have \d+ bytes"):
        read_table(target / "predictions.csv")
    flip(target / "metrics.json", 14)
    with pytest.raises(UserError, match=r"metrics\.json: must have SHA-256"):
        read_json(target / "metrics.json")
    (target / "new.csv").write_text("key\n1\n")
    with pytest.raises(UserError, match="isn't in"):
        check_file(target / "new.csv")


def test_tables_of_one_study_hold_the_same_keys():
    images, labels = Path("images.csv"), Path("labels.csv")
    require_same(images, ["a", "b"], labels, ["b", "a"])
    require_within(images, ["a"], labels, ["b", "a"])
    with pytest.raises(
        UserError, match=r"labels\.csv: must hold every image of images\.csv, lacks 1"
    ):
        require_same(images, ["a", "b"], labels, ["a"])
    with pytest.raises(UserError, match=r"images\.csv: must hold every image of labels\.csv.* c;"):
        require_same(images, ["a", "b"], labels, ["a", "b", "c"])
    with pytest.raises(UserError, match=r"labels\.csv: a key must stand in one row, got a"):
        require_same(images, ["a", "b"], labels, ["a", "b", "a"])


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("t.csv", b"", r"t\.csv: not a readable table"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", r"t\.csv: not a readable table"),
        ("t.csv", b"a\n\xff\xfe\n", r"t\.csv: not a readable table"),
        ("t.json", b'{"a": [1', r"t\.json: not readable JSON"),
    ],
)
def test_a_damaged_table_or_json_is_named_with_a_remedy(tmp_path, name, content, fault):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{fault}.*dvc repro"):
        (read_json if name.endswith("json") else read_table)(tmp_path / name)


WRITER = """
import sys, time
from pathlib import Path
from mammo.errors import UserError
from mammo.storage.files import whole_folder
try:
    with whole_folder(Path(sys.argv[1])) as folder:
        (folder / "a").write_text(sys.argv[2])
        Path(sys.argv[1] + ".at_work").touch()
        time.sleep(float(sys.argv[3]))
        (folder / "b").write_text(sys.argv[2])
except UserError as error:
    sys.exit(str(error))
"""


def write_in_another_process(target, text, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), text, str(seconds)],
        env={"PYTHONPATH": str(SRC), "PATH": ""}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_of_two_writers_of_a_folder_the_second_is_told_of_the_first(tmp_path):
    target = tmp_path / "out"
    first = write_in_another_process(target, "1", 2)
    while not Path(f"{target}.at_work").exists():
        time.sleep(0.02)
    with (
        pytest.raises(UserError, match=rf"out: is being written by process {first.pid}"),
        whole_folder(target),
    ):
        raise AssertionError("entered beside another writer")
    assert first.wait() == 0
    assert [(target / name).read_text() for name in "ab"] == ["1", "1"]


def test_a_killed_writer_leaves_the_old_folder_and_no_obstacle(tmp_path):
    target = tmp_path / "out"
    with whole_folder(target) as folder:
        (folder / "a").write_text("old")
    killed = write_in_another_process(target, "new", 30)
    while not Path(f"{target}.at_work").exists():
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    assert [path.name for path in target.iterdir()] == ["a"]
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.glob(".out.*.partial"))
    with whole_folder(target) as folder:
        (folder / "a").write_text("newer")
    assert (target / "a").read_text() == "newer"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.at_work"]
