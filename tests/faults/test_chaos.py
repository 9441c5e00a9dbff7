"""A minute of kills, flips, full disks and races; `make chaos` goes on for as long as one likes."""

import random

import pytest

from support import chaos


@pytest.mark.slow
def test_a_minute_of_faults_leaves_nothing_silently_wrong():
    tally = chaos.run(seconds=60, seed=0)
    print("\n".join(tally.lines()))
    assert tally.wrong == []
    assert sum(tally.tried.values()) > 160
    assert tally.noticed["flip in shards"] > 30


def test_a_store_that_does_not_look_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr("mammo.storage.tensors.check_folder", lambda folder: {"rows": 6})
    tally = chaos.Tally()
    for kind, verdict in chaos.flips_of_stores(tmp_path, random.Random(0)):
        tally.add(kind, verdict)
    assert [wrong for wrong in tally.wrong if wrong.startswith("flip in shards")]
    assert tally.lines()[-1].startswith("silent wrong: ")
