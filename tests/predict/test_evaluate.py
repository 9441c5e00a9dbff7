"""A bundle on another data set."""

import json

import pandas as pd
import pytest
import yaml

from mammo.params import read_params
from mammo.predict.cli import main
from mammo.predict.evaluate import Bootstrap, figures
from mammo.storage.cells import restored
from mammo.storage.files import read_table
from support.bundles import write_bundle, write_mammograms
from support.made_up import CLASSES, predictions
from support.pipeline_copy import ROOT


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A bundle, and six labelled patients of another hospital with a params.yaml."""
    folder = tmp_path_factory.mktemp("elsewhere")
    write_bundle(folder / "bundle")
    files = write_mammograms(folder / "images", patients=6)
    (folder / "images" / "=SUM(1).dcm").write_bytes(b"in no row of the table")
    rows = [
        {"image_path": str(f.relative_to(folder / "images")), "patient_id": f"SECRET{n // 4}",
         "density": "ABCD"[n // 4 % 4]}
        for n, f in enumerate(files)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    dataset = read_params(ROOT / "params.yaml")["dataset"]
    dataset |= {"name": "csv", "root": str(folder / "images"), "table": str(folder / "labels.csv"),
                "key_file": "public"}  # fmt: skip
    dataset["columns"] |= {"laterality": None, "view": None}
    if "corrections" in dataset:
        (folder / "corrections.csv").write_text("key,old,new,who,when\n")
        dataset["corrections"] = str(folder / "corrections.csv")
    (folder / "other.yaml").write_text(yaml.safe_dump({"dataset": dataset}))
    main(["evaluate", str(folder / "bundle"), "--dataset", str(folder / "other.yaml"),
          "--out", str(folder / "out")])  # fmt: skip
    return folder


def test_metrics_come_with_intervals_on_every_level(elsewhere):
    metrics = json.loads((elsewhere / "out/metrics.json").read_text())
    assert metrics["images"] == 24 and metrics["patients"] == 6
    for level in ("image", "breast", "patient"):
        for name in ("accuracy", "kappa_quadratic", "bal_acc_adj"):
            assert set(metrics[level][name]) == {"value", "low", "high"}
        assert metrics[level]["accuracy"]["low"] < metrics[level]["accuracy"]["high"]
    predictions = read_table(elsewhere / "out/predictions.csv")
    right = (predictions["label"] == predictions["prediction"]).mean()
    assert metrics["image"]["accuracy"]["value"] == pytest.approx(right)
    assert 0 <= metrics["image"]["calibration_error"]["value"] <= 1
    assert sum(b["n"] for b in metrics["calibration"]) == 24


def test_what_rests_on_a_class_of_few_patients_has_no_interval():
    table = predictions("probe", 2.0)
    few = table[table["label"] == "A"]["patient"].unique()[4:]  # four are left
    bootstrap = Bootstrap(draws=200, seed=0, confidence=0.95, bins=5)
    for given, thin in ((table[~table["patient"].isin(few)], {"A": 4}), (table, {})):
        found = figures(given, CLASSES, "argmax", "mean", bootstrap)
        assert found["thin_classes"] == thin
        for name in ("bal_acc_adj", "macro_f1", "auc_macro"):
            assert (found["image"][name]["low"] is None) == bool(thin)
        assert found["patient"]["kappa_quadratic"]["low"] is not None


def test_a_class_may_be_thin_by_patient_alone():
    """Who has a denser breast counts as that: many have images of A, two are patients of A."""
    table = predictions("probe", 2.0)
    of_a = table["label"] == "A"
    both = sorted(table[of_a]["patient"].unique())[:2]
    denser = of_a & (table["laterality"] == "R") & ~table["patient"].isin(both)
    mixed = table.assign(label=table["label"].mask(denser, "B"))
    found = figures(mixed, CLASSES, "argmax", "mean", Bootstrap(200, 0, 0.95, 5))
    assert found["image"]["bal_acc_adj"]["low"] is not None
    assert found["patient"]["bal_acc_adj"]["low"] is None
    assert found["thin_classes"] == {"A": 2}


def test_the_page_says_for_which_classes_there_are_no_intervals(elsewhere):
    page = (elsewhere / "out/report.md").read_text()
    assert "none for what rests on a class of fewer than 5 patients: A (" in page


def test_a_quarantined_name_is_no_formula(elsewhere):
    rejected = read_table(elsewhere / "out/quarantine.csv")
    assert list(rejected["path"]) == ["'=SUM(1).dcm"]
    assert list(restored(rejected)["path"]) == ["=SUM(1).dcm"]


def test_the_command_says_how_many_files_were_not_judged(elsewhere, caplog):
    with caplog.at_level("INFO"):
        main(["evaluate", str(elsewhere / "bundle"), "--dataset", str(elsewhere / "other.yaml"),
              "--out", str(elsewhere / "out")])  # fmt: skip
    assert "24 images judged, 1 files quarantined" in caplog.text


def test_groups_of_few_patients_are_named_not_judged(elsewhere):
    metrics = json.loads((elsewhere / "out/metrics.json").read_text())
    groups = {(g["group"], g["value"]): g for g in metrics["groups"]}
    assert "accuracy" in groups["view", "CC"] and groups["view", "CC"]["patients"] == 6
    assert groups["laterality", "L"]["images"] == 12
    assert {g["group"] for g in metrics["groups"]} == {
        "maker", "view", "laterality", "age_band", "unfamiliar"
    }  # fmt: skip
    few = [g for g in metrics["groups"] if g["patients"] < 5]
    assert not any("accuracy" in g for g in few)


def test_the_page_sets_the_figures_beside_those_of_the_bundle(elsewhere):
    page = (elsewhere / "out/report.md").read_text()
    assert "| metric | here | on the bundle's own test patients |" in page
    assert "0.500 (0.400 to 0.600)" in page  # the bundle's accuracy
    assert "Not for clinical use" in page
    assert "24 images (A 8, B 8, C 4, D 4) of 6 patients" in page
    assert "not judged (quarantine.csv): file_not_in_table 1." in page


def test_other_classes_are_refused(elsewhere, tmp_path):
    values = yaml.safe_load((elsewhere / "other.yaml").read_text())
    values["dataset"]["classes"] = "ab_cd"
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(SystemExit, match=r"must be the bundle's a_b_c_d, got ab_cd"):
        main(["evaluate", str(elsewhere / "bundle"), "--dataset", str(tmp_path / "two.yaml"),
              "--out", str(tmp_path / "out")])  # fmt: skip


def test_a_data_set_that_is_not_there_is_named(elsewhere, tmp_path):
    with pytest.raises(SystemExit, match=r"gone.yaml: no such file \(--dataset\)"):
        main(["evaluate", str(elsewhere / "bundle"), "--dataset", str(tmp_path / "gone.yaml"),
              "--out", str(tmp_path / "out")])  # fmt: skip


def test_a_file_without_a_data_set_is_refused(elsewhere, tmp_path):
    (tmp_path / "empty.yaml").write_text("strategy: probe\n")
    with pytest.raises(SystemExit, match=r"empty.yaml: dataset: missing"):
        main(["evaluate", str(elsewhere / "bundle"), "--dataset", str(tmp_path / "empty.yaml"),
              "--out", str(tmp_path / "out")])  # fmt: skip
