"""The scratch store gives back what was kept, or misses; never anything else."""

import io

import numpy as np
import pytest

from mammo.storage.digests import digest
from mammo.storage.scratch import Store

KEY = digest({"a": 1})
ARRAY = np.arange(60, dtype=np.uint16).reshape(6, 10)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.put(KEY, ARRAY)
    return store


def test_what_was_kept_comes_back(store):
    assert np.array_equal(store.get(KEY), ARRAY) and store.get(KEY).dtype == ARRAY.dtype
    assert store.get(digest({"a": 2})) is None
    assert not store.damaged


def test_a_flip_of_any_byte_is_a_miss_and_counted(store):
    sound = store.path(KEY).read_bytes()
    for place in range(len(sound)):
        store.damaged.clear()
        store.path(KEY).write_bytes(
            sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :]
        )
        assert store.get(KEY) is None and store.damaged == {KEY}, place


@pytest.mark.parametrize("length", [0, 10, 48, 60, -1])
def test_a_cut_entry_is_a_miss(store, length):
    store.path(KEY).write_bytes(store.path(KEY).read_bytes()[:length])
    assert store.get(KEY) is None
    store.put(KEY, ARRAY)
    assert np.array_equal(store.get(KEY), ARRAY)


@pytest.mark.parametrize("what", ["folder", "link to a folder"])
def test_a_folder_in_the_place_of_an_entry_is_damage_and_gives_way(store, tmp_path, what):
    path, elsewhere = store.path(KEY), tmp_path / "elsewhere"
    path.unlink()
    (elsewhere / "b").mkdir(parents=True)
    if what == "folder":
        (path / "b").mkdir(parents=True)
    else:
        path.symlink_to(elsewhere)
    assert store.get(KEY) is None and store.damaged == {KEY}
    store.put(KEY, ARRAY)
    assert np.array_equal(store.get(KEY), ARRAY)
    assert (elsewhere / "b").is_dir()


def test_an_entry_under_another_key_is_a_miss(store):
    other = digest({"b": 1})
    store.path(other).parent.mkdir(exist_ok=True)
    store.path(other).write_bytes(store.path(KEY).read_bytes())
    assert store.get(other) is None


def test_an_entry_of_another_form_is_a_miss(store):
    plain = io.BytesIO()
    np.save(plain, ARRAY)
    store.path(KEY).write_bytes(plain.getvalue())
    assert store.get(KEY) is None
    content = store.path(KEY)
    store.put(KEY, ARRAY)
    content.write_bytes(content.read_bytes().replace(b"scratch 2", b"scratch 1"))
    assert store.get(KEY) is None
