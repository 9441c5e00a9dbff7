"""The sharded store, and files that appear whole or not at all."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo.errors import UserError
from mammo.storage.digests import digest, short_digest
from mammo.storage.files import read_table, whole_folder, write_bytes, write_json, write_table
from mammo.storage.tensors import ShardWriter, Tensors, unit_range, write_shards


def items(n, shape=(3, 4), dtype=np.uint8):
    return [np.full(shape, i, dtype) for i in range(n)]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 100), st.data())
def test_what_goes_in_comes_out_in_any_order(tmp_path_factory, n, shard_bytes, data):
    folder = tmp_path_factory.mktemp("store")
    keys = [f"k{i:03d}" for i in range(n)]
    write_shards(iter(items(n)), keys, folder, shard_bytes)
    store = Tensors(folder)
    wanted = data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=40))
    gathered = store.gather(store.positions(wanted))
    assert gathered[:, 0, 0].tolist() == [int(key[1:]) for key in wanted]
    assert len(store) == n and store.shape == (3, 4) and store.dtype == np.uint8


def test_shards_hold_what_fits(tmp_path):
    write_shards(iter(items(10)), [f"{i}" for i in range(10)], tmp_path, 40)  # 12 bytes each
    sizes = [len(np.load(p)) for p in sorted(tmp_path.glob("*.npy"))]
    assert sizes == [3, 3, 3, 1]


def test_one_view_of_each_item_is_gathered(tmp_path):
    array = np.arange(4 * 2 * 3, dtype=np.float16).reshape(4, 2, 3)
    write_shards(iter(array), list("abcd"), tmp_path, 24)
    gathered = Tensors(tmp_path).gather(np.array([3, 0, 1]), np.array([0, 1, 1]))
    assert np.array_equal(gathered, array[[3, 0, 1], [0, 1, 1]])


def test_a_shard_is_the_file_that_numpy_saves_whatever_the_order_in_memory(tmp_path):
    array = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float16)
    channels_last = np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    write_shards(iter(channels_last), ["a", "b"], tmp_path, 10**6)
    np.save(tmp_path / "saved.npy", array)
    assert (tmp_path / "shard-00000.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


@pytest.mark.parametrize("odd", [np.zeros((3, 5), np.uint8), np.zeros((3, 4), np.float32)])
@pytest.mark.parametrize("shard_bytes", [12, 10**6])  # in a shard of its own, or among others
def test_an_array_of_another_shape_or_dtype_is_an_error(tmp_path, odd, shard_bytes):
    with pytest.raises(ValueError, match="b: "):
        write_shards(iter([items(1)[0], odd]), ["a", "b"], tmp_path, shard_bytes)


def test_shards_are_read_only(tmp_path):
    write_shards(iter(items(2)), ["a", "b"], tmp_path, 100)
    with pytest.raises(ValueError, match="read-only"):
        Tensors(tmp_path)._shards[0][0] = 1


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"], ["a"]])
def test_keys_must_be_sorted_unique_and_as_many_as_items(tmp_path, keys):
    with pytest.raises(ValueError, match=r"keys|longer"):
        write_shards(iter(items(2)), keys, tmp_path, 100)


def test_an_empty_store_is_an_error(tmp_path):
    write_shards(iter([]), [], tmp_path, 100)
    with pytest.raises(UserError, match="holds no image"):
        Tensors(tmp_path)


def test_a_digest_depends_on_values_not_on_their_order():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert short_digest({"a": 1}) == digest({"a": 1})[:12]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out"
    with whole_folder(target) as folder:
        write_bytes(b"1", folder / "a")

    def fail():
        with whole_folder(target) as folder:
            write_bytes(b"2", folder / "a")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail()
    assert (target / "a").read_bytes() == b"1"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_tables_keep_text_as_it_is(tmp_path):
    table = pd.DataFrame({"id": ["007", "NA", ""], "x": [0.1, 1 / 3, 1e-12]})
    write_table(table, tmp_path / "t.csv")
    assert b"\r" not in (tmp_path / "t.csv").read_bytes()
    read = read_table(tmp_path / "t.csv", x=float)
    assert read["id"].tolist() == ["007", "NA", ""]
    assert read["x"].tolist() == [0.1, 0.333333333, 1e-12]
    with pytest.raises(UserError, match="not found"):
        read_table(tmp_path / "no.csv")


def test_a_cell_may_hold_a_line_end_and_a_spreadsheet_may_have_saved_the_table(tmp_path):
    table = pd.DataFrame({"id": ["a\rb", "c\nd", 'e"\r\n'], "last": ["1\r", "2", "3"]})
    write_table(table, tmp_path / "t.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), table)
    (tmp_path / "t.csv").write_bytes(b"id,last\r\na,1\r\n")
    assert read_table(tmp_path / "t.csv").to_dict("list") == {"id": ["a"], "last": ["1"]}


def test_json_refuses_what_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json({"kappa": float("nan")}, tmp_path / "m.json")
    assert not (tmp_path / "m.json").exists()


def test_grey_levels_are_scaled_by_the_largest_of_their_type():
    assert unit_range(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    assert unit_range(np.array([0, 65535], np.uint16)).tolist() == [0, 1]


def test_several_stores_are_filled_side_by_side(tmp_path):
    keys = [f"{n}" for n in range(5)]
    writers = []
    for name in "ab":
        (tmp_path / name).mkdir()
        writers.append(ShardWriter(keys, tmp_path / name, 24))
    for item in items(5):
        for writer in writers:
            writer.write(item)
    for writer in writers:
        writer.close()
    (tmp_path / "alone").mkdir()
    write_shards(iter(items(5)), keys, tmp_path / "alone", 24)
    for name in "ab":
        for file in (tmp_path / "alone").iterdir():
            assert (tmp_path / name / file.name).read_bytes() == file.read_bytes()


def test_a_store_that_is_closed_too_early_has_no_index(tmp_path):
    writer = ShardWriter(["a", "b"], tmp_path, 100)
    writer.write(items(1)[0])
    with pytest.raises(ValueError, match="1 items for 2 keys"):
        writer.close()
    writer.abandon()
    assert not (tmp_path / "index.csv").exists()
