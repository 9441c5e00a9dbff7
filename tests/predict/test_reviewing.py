"""What the review reads back of what its readers saved."""

import pandas as pd

from mammo.ingest.corrections import corrected
from mammo.predict.reviewing import read_corrections
from mammo.storage.cells import neutralised
from mammo.storage.files import write_table

COLUMNS = ["key", "old", "new", "who", "when"]


def test_corrections_come_back_to_the_letter_and_change_the_labels(tmp_path):
    path = tmp_path / "corrections.csv"
    who = ["=Eve", "'Ann", "@Bo", "Cy"]
    made = pd.DataFrame([[f"k{n}", "A", "B", w, "2026-01-02"] for n, w in enumerate(who)],
                        columns=COLUMNS)  # fmt: skip
    write_table(neutralised(made), path)
    assert "'=Eve" in path.read_text() and "''Ann" in path.read_text()
    pd.testing.assert_frame_equal(read_corrections(path), made, check_dtype=False)
    labels = pd.DataFrame({"key": ["k0", "k1", "k2", "k3", "k4"], "label": "A"})
    after = corrected(labels, path, ("A", "B"))
    assert list(after["label"]) == ["B", "B", "B", "B", "A"]


def test_no_corrections_are_an_empty_table(tmp_path):
    assert read_corrections(tmp_path / "gone.csv").equals(pd.DataFrame(columns=COLUMNS))
