"""`make verify` finds a flipped byte wherever something is kept."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mammo.storage.digests import digest, file_sha256
from mammo.storage.files import write_json
from mammo.storage.outside import note_outside
from mammo.storage.scratch import Store
from mammo.storage.tensors import write_shards

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """Make the folders that a run leaves, with something small in each."""
    (tmp_path / "data/tensors").mkdir(parents=True)
    write_shards(
        iter([np.arange(9, dtype=np.uint8)] * 3), list("abc"), tmp_path / "data/tensors", 9
    )
    Store(tmp_path / ".cache/images").put(digest("one"), np.arange(9))
    (tmp_path / "dataset.key").write_text("k" * 40)
    note_outside({"dataset.key_file": tmp_path / "dataset.key"}, tmp_path / "data/outside.json")
    (tmp_path / "params.yaml").write_text("dataset: {key_file: dataset.key}\n")
    return tmp_path


def verify(checkout, **environment):
    return subprocess.run(
        [sys.executable, ROOT / "tools/verify_kept.py"], cwd=checkout, capture_output=True,
        text=True, env={"PYTHONPATH": str(ROOT / "src"), "PATH": "", **environment},
    )  # fmt: skip


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_what_is_sound_passes(checkout):
    done = verify(checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 kept folders and files compared, 0 not as they were written" in done.stdout


@pytest.mark.parametrize("kind", ["data/tensors/shard-00001.npy", "scratch", "dataset.key"])
def test_one_flipped_bit_is_named(checkout, kind):
    scratch = Store(checkout / ".cache/images").path(digest("one"))
    flip(scratch if kind == "scratch" else checkout / kind)
    done = verify(checkout)
    assert done.returncode == 1
    assert (scratch.name if kind == "scratch" else kind) in done.stdout
    assert scratch.exists() == (kind != "scratch")


def test_the_scratch_store_of_the_studies_is_compared_too(checkout):
    store = Store(checkout / "studies/.cache/images")
    store.put(digest("one"), np.arange(9))
    assert "4 kept folders and files compared, 0 not" in verify(checkout).stdout
    flip(store.path(digest("one")))
    assert "studies/.cache/images" in verify(checkout).stdout
    assert not store.path(digest("one")).exists()


def test_a_folder_in_the_place_of_a_kept_file_is_named_and_removed(checkout):
    entry = Store(checkout / ".cache/images").path(digest("one"))
    entry.unlink()
    entry.mkdir()
    done = verify(checkout)
    assert f"{entry.name}: damaged; removed" in done.stdout and done.stderr == ""
    assert not entry.exists()


def test_another_package_than_the_backbone_came_from_is_named(checkout):
    (checkout / "data/weights").mkdir()
    facts = {"package": "numpy", "source": "METADATA", "source_sha256": "0" * 64}
    write_json(facts, checkout / "data/weights/provenance.json")
    assert "numpy: another file" in verify(checkout).stdout
    import importlib.metadata

    files = importlib.metadata.distribution("numpy").files
    metadata = next(f for f in files if f.name == "METADATA").locate()
    facts["source_sha256"] = file_sha256(Path(str(metadata)))
    write_json(facts, checkout / "data/weights/provenance.json")
    assert verify(checkout).returncode == 0


def test_a_key_file_below_the_home_is_found(checkout):
    (checkout / "params.yaml").write_text("dataset: {key_file: ~/dataset.key}\n")
    assert verify(checkout, HOME=str(checkout)).returncode == 0
    flip(checkout / "dataset.key")
    found = verify(checkout, HOME=str(checkout)).stdout
    assert "dataset.key: must be the file that stage check saw" in found
