from pathlib import Path

from support.malformed import outcome, run, sound_files


def test_files_mutated_at_random_are_accepted_or_refused_with_a_reason():
    counts = run(150)
    assert counts.total() == 150
    assert len(counts) > 8 and counts["accepted"] < 60


def test_the_sound_files_are_accepted(tmp_path: Path):
    assert {outcome(content, tmp_path) for content in sound_files()} == {"accepted"}
