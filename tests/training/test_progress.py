"""The resume file: gone on from only if it is as it was saved."""

import random

import pytest
import torch

from mammo.training.progress import Progress


@pytest.fixture
def progress(tmp_path):
    progress = Progress(tmp_path / "run", 0)
    progress.save({"epoch": 3, "weights": torch.arange(100.0)})
    return progress


def test_a_saved_state_comes_back(progress):
    state = progress.load()
    assert state["epoch"] == 3 and torch.equal(state["weights"], torch.arange(100.0))


def test_no_flipped_bit_loads_as_another_state(progress, caplog):
    sound = progress.path.read_bytes()
    draw = random.Random(0)
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[draw.randrange(len(sound))] ^= 1 << draw.randrange(8)
        progress.path.write_bytes(damaged)
        caplog.clear()
        assert progress.load() is None
        assert f"{progress.path}: can't be gone on from" in caplog.text


@pytest.mark.parametrize("length", [0, 5, 60, 81, 200, -1])
def test_a_cut_file_starts_from_the_beginning_with_a_warning(progress, caplog, length):
    progress.path.write_bytes(progress.path.read_bytes()[:length])
    assert progress.load() is None
    assert "starts from the beginning" in caplog.text


def test_a_file_of_an_earlier_form_starts_from_the_beginning(progress, caplog):
    torch.save({"epoch": 3}, progress.path)
    assert progress.load() is None
    assert "its digest doesn't match" in caplog.text


def test_no_file_is_no_news(tmp_path, caplog):
    assert Progress(tmp_path, 0).load() is None
    assert not caplog.text


def test_what_a_killed_process_left_is_removed(progress):
    left = progress.path.with_name(".progress.pt.999999999-ab.partial")
    left.write_bytes(b"half")
    progress.load()
    assert [p.name for p in progress.path.parent.iterdir()] == ["progress.pt"]
