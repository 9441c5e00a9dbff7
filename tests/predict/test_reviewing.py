"""What the review reads back of what its readers saved."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mammo.ingest.corrections import corrected
from mammo.predict.cross_fitting import CrossFitted
from mammo.predict.reviewing import _answered, read_corrections
from mammo.storage.cells import neutralised
from mammo.storage.files import write_table
from support.bundles import make_model, write_bundle

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


@pytest.mark.parametrize(
    ("fitted_on", "of_val"),
    [(["train"], "the deployed network"), (["train", "val"], "a head of train alone")],
)
def test_each_answer_says_which_network_gave_it(tmp_path, fitted_on, of_val):
    model = make_model(tmp_path / "weights")
    model = replace(model, facts={**model.facts, "fitted_on": fitted_on})
    bundle = write_bundle(tmp_path / "bundle", model)
    cases = pd.DataFrame({"key": ["k0", "k1", "k2"], "split": ["train", "val", "test"]})
    quarters = np.full((3, 4), 0.25)
    fitted = CrossFitted(list(cases["key"]), np.zeros(3), np.arange(3), quarters)
    columns = [f"probability_{name}" for name in bundle.classes]
    predictions = pd.DataFrame([[0.7, 0.1, 0.1, 0.1]] * 2, columns=columns)
    rows = _answered(bundle, cases, fitted, predictions.assign(key=["k1", "k2"]))
    assert list(rows["probability_A"]) == [0.25, 0.7, 0.7]
    train, val, test = rows["source"]
    assert train.startswith("cross-fitted") and test == "the deployed network"
    assert val.startswith(of_val)


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8-sig"), (",", "utf-8-sig")])
def test_corrections_that_a_spreadsheet_saved_are_read_as_ingestion_does(
    tmp_path, separator, encoding
):
    rows = ([*COLUMNS, "quality"], ["k0", "A", "B", "Änne", "2026-01-02", "0.1"])
    text = "".join(separator.join(row) + "\r\n" for row in rows)
    (tmp_path / "corrections.csv").write_text(text, encoding=encoding)
    read = read_corrections(tmp_path / "corrections.csv")
    assert read.to_numpy().tolist() == [["k0", "A", "B", "Änne", "2026-01-02"]]


def test_a_header_alone_is_no_correction(tmp_path):
    (tmp_path / "corrections.csv").write_text("key,old,new,who,when\n")
    assert list(read_corrections(tmp_path / "corrections.csv")) == COLUMNS


def test_no_corrections_are_an_empty_table(tmp_path):
    assert read_corrections(tmp_path / "gone.csv").equals(pd.DataFrame(columns=COLUMNS))
