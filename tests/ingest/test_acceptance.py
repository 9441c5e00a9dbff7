"""Every row and file is either believed or set aside with its reason."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom import uid

from mammo.datasets.folders import survey
from mammo.datasets.params import DatasetParams
from mammo.dicom.params import Limits
from mammo.errors import UserError
from mammo.ingest.acceptance import Ingested, ingest
from mammo.ingest.corrections import count
from mammo.ingest.inspection import inspect_files
from mammo.ingest.keys import image_key, patient_key, read_dataset_key
from mammo.ingest.params import IngestParams, Policies
from mammo.ingest.summary import format_summary, thin_classes
from mammo.params import parse_params
from mammo.storage.files import read_table
from support.dataset_tables import (
    COLUMNS,
    HEADER,
    MIAS_INFO,
    RSNA_HEADER,
    dataset,
)
from support.mammogram_files import code, pixels_of, write_dicom, write_picture, write_text

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(max_pixels=10_000, max_inflated_mb=1)
REJECT = dict.fromkeys(Policies.model_fields, "reject")
PUBLIC = read_dataset_key("public", Path())


def ingest_params(**policies: str) -> IngestParams:
    values = {"workers": 1, "policies": REJECT | policies}
    return parse_params("ingest", values, IngestParams)


class Folder:
    """A dataset in the making: files below `root`, rows of the label table."""

    def __init__(self, folder: Path):
        self.root = folder / "images"
        self.table = folder / "labels.csv"
        self.rows: list[str] = []
        # Two good images of two patients, so that one bad one doesn't stop the run.
        self.add("good/1.dcm", "G1,L,CC,A")
        self.add("good/2.dcm", "G2,R,MLO,B", ImageLaterality="R", ViewPosition="MLO")

    def add(self, path: str, row: str | None = "P1,L,CC,C", **tags: Any) -> Path:
        """Write a mammogram and, unless None, its row."""
        if row is not None:
            self.rows.append(f"{path},{row}")
        return write_dicom(self.root / path, **tags)

    def params(self, **changes: Any) -> DatasetParams:
        write_text(self.table, HEADER, *self.rows)
        return dataset("csv", self.root, self.table, **changes)

    def ingest(self, **policies: str) -> Ingested:
        return ingest(self.params(), ingest_params(**policies), LIMITS)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def reasons(ingested: Ingested) -> dict[str, str]:
    return dict(zip(ingested.quarantine["path"], ingested.quarantine["reason"], strict=True))


def accepted(ingested: Ingested) -> list[str]:
    return sorted(path for path in ingested.files["path"] if not path.startswith("good/"))


def test_good_images_are_accepted(folder):
    ingested = folder.ingest()
    assert reasons(ingested) == {}
    files = ingested.files.set_index("path")
    key = image_key(PUBLIC, "good/2.dcm")
    assert files.loc["good/2.dcm", "key"] == key
    assert files.loc["good/2.dcm", ["rows", "columns", "bits_stored"]].tolist() == [12, 8, 12]
    image = ingested.images.set_index("key").loc[key]
    assert image.tolist() == [patient_key(PUBLIC, "G2"), "R", "MLO", ""]
    assert ingested.labels.set_index("key").loc[key, "label"] == "B"


def test_tables_are_sorted_by_key_and_name_the_same_images(folder):
    for number in range(20):
        folder.add(f"{number}.dcm", f"P{number},L,CC,D")
    ingested = folder.ingest()
    keys = list(ingested.files["key"])
    assert keys == sorted(keys)
    for table in (ingested.images, ingested.labels, ingested.groups):
        assert list(table["key"]) == keys
    assert len(keys) == 22


def test_identifiers_stay_in_files_and_quarantine(folder):
    folder.add("secret-path.dcm", "secret-patient,L,CC,C", AccessionNumber="secret-accession")
    folder.add("secret-bad.dcm", "secret-patient,L,CC,")
    ingested = folder.ingest()
    assert "secret" in ingested.files.to_csv() and "secret" in ingested.quarantine.to_csv()
    pushed = (ingested.images, ingested.labels, ingested.groups)
    assert not any("secret" in table.to_csv() for table in pushed)
    assert "secret" not in json.dumps(ingested.metrics)


def test_a_changed_label_leaves_files_as_they_are(folder):
    before = folder.ingest()
    folder.rows[0] = folder.rows[0][:-1] + "D"
    after = folder.ingest()
    pd.testing.assert_frame_equal(before.files, after.files)
    pd.testing.assert_frame_equal(before.images, after.images)
    assert not before.labels.equals(after.labels)


# ---- one fault, one reason


def spot(scheme: str, value: str, meaning: str = "a modifier") -> dict[str, Any]:
    """Put a view modifier where the standard wants it: inside the view's code."""
    modifier = code(scheme, value, meaning)
    view = code("SCT", "399162004", "cranio-caudal", ViewModifierCodeSequence=[modifier])
    return {"ViewCodeSequence": [view]}


HEADER_FAULTS = [
    ("not_mammography", {"Modality": "CT", "SOPClassUID": uid.CTImageStorage}),
    ("not_mammography", {"Modality": "DX",
                         "SOPClassUID": uid.DigitalXRayImageStorageForPresentation}),
    ("tomosynthesis", {"SOPClassUID": uid.BreastTomosynthesisImageStorage}),
    ("tomosynthesis", {"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]}),
    ("tomosynthesis", {"ImageType": ["ORIGINAL", "PRIMARY", "TOMO_PROJ", "RIGHT"]}),
    ("localizer", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    ("not_cc_mlo", {"ViewPosition": "ML"}),
    ("magnification_view", spot("SRT", "R-102D6")),
    ("magnification_view", spot("SNM3", "R-102D6")),
    ("magnification_view", spot("SCT", "399163009")),
    ("spot_view", spot("SRT", "R-102D7")),
    ("spot_view", spot("SNM3", "R-102D7")),
    ("spot_view", spot("SCT", "399055006")),
    ("magnification_view", {"EstimatedRadiographicMagnificationFactor": 1.5}),
    ("magnification_view", {"EstimatedRadiographicMagnificationFactor": "1.8"}),
    ("magnification_view", {"PaddleDescription": "MAG 10CM"}),
    ("magnification_view", spot("99X", "42", "Magnification")),
    ("spot_view", {"PaddleDescription": "Spot Contact"}),
    ("partial_view", {"PartialView": "YES"}),
    ("implant_displaced", spot("SRT", "R-102D5")),
    ("implant_displaced", spot("SCT", "399209000")),
    ("implant_displaced", spot("99X", "42", "Implant Displaced")),
    ("burned_in_annotation", {"BurnedInAnnotation": "YES"}),
    ("laterality_mismatch", {"ImageLaterality": "R"}),
    ("view_mismatch", {"ViewPosition": "MLO"}),
    ("for_processing_mixed", {"PresentationIntentType": "FOR PROCESSING"}),
    ("for_processing_mixed", {"SOPClassUID": uid.DigitalMammographyXRayImageStorageForProcessing,
                              "PresentationIntentType": None}),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "tags"), HEADER_FAULTS)
def test_a_header_fault_is_rejected_or_flagged_as_its_policy_says(folder, reason, tags):
    row = "P1,L,,C" if reason == "not_cc_mlo" else "P1,L,CC,C"
    folder.add("bad.dcm", row, **tags)
    rejected = folder.ingest()
    assert reasons(rejected) == {"bad.dcm": reason}
    assert rejected.metrics["rejected"] == {reason: 1}
    flagged = folder.ingest(**{reason: "flag"})
    assert accepted(flagged) == ["bad.dcm"]
    assert flagged.files.set_index("path").loc["bad.dcm", "flags"] == reason
    assert flagged.metrics["flagged"] == {reason: 1}


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": None},
        {"Modality": "DX"},
        {"SOPClassUID": uid.SecondaryCaptureImageStorage},  # Modality MG
        {"BurnedInAnnotation": "NO"},
        {"EstimatedRadiographicMagnificationFactor": 1.07},
        {"PaddleDescription": "24x29 screening"},
        {"ImageLaterality": "LEFT"},
        {"PartialView": "NO"},
        spot("SRT", "R-102D2"),  # cleavage view
        {"ImageLaterality": None, "ViewPosition": None},
        {"BreastImplantPresent": "YES"},
    ],
)
def test_what_only_looks_odd_is_accepted(folder, tags):
    folder.add("odd.dcm", **tags)
    assert accepted(folder.ingest()) == ["odd.dcm"]


def test_every_policy_is_tried(folder):
    tried = {reason for reason, _ in HEADER_FAULTS}
    others = {"multi_frame", "duplicate_sop_instance_uid", "duplicate_pixels", "unreadable_folder"}
    assert tried | others == set(Policies.model_fields)


def test_several_flags_are_all_kept(folder):
    folder.add("bad.dcm", BurnedInAnnotation="YES", ImageType=["X", "Y", "LOCALIZER"])
    ingested = folder.ingest(burned_in_annotation="flag", localizer="flag")
    flags = ingested.files.set_index("path").loc["bad.dcm", "flags"]
    assert flags == "burned_in_annotation;localizer"


def test_of_several_frames_the_first_is_read_where_the_policy_says_so(folder):
    pixels = np.vstack([pixels_of("first"), pixels_of("second")])
    folder.add("tomo.dcm", pixels=pixels, NumberOfFrames=2, Rows=12)
    assert reasons(folder.ingest()) == {"tomo.dcm": "multi_frame"}
    first = folder.ingest(multi_frame="first")
    assert accepted(first) == ["tomo.dcm"]
    assert first.metrics["flagged"] == {"multi_frame": 1}
    with pytest.raises(UserError, match="multi_frame"):
        ingest_params(multi_frame="flag")


def test_for_processing_alone_is_not_mixed(tmp_path):
    folder = Folder(tmp_path)
    for path in folder.root.rglob("*.dcm"):
        path.unlink()
    folder.rows.clear()
    for number in (1, 2):
        folder.add(f"{number}.dcm", f"P{number},L,CC,A", PresentationIntentType="FOR PROCESSING")
    assert len(folder.ingest().files) == 2


def test_files_that_are_no_dicom_or_are_cut_are_rejected(folder):
    folder.add("cut.dcm")
    content = (folder.root / "cut.dcm").read_bytes()
    (folder.root / "cut.dcm").write_bytes(content[:-20])
    folder.add("empty.dcm").write_bytes(b"")
    folder.add("text.dcm").write_text("no image at all, but long enough to hold a preamble" * 4)
    folder.add("nopixels.dcm", PixelData=None)
    folder.add("huge.dcm", Rows=60_000, Columns=60_000)
    assert reasons(folder.ingest()) == {
        "cut.dcm": "truncated_pixels",
        "empty.dcm": "not_dicom",
        "text.dcm": "not_dicom",
        "nopixels.dcm": "no_pixel_data",
        "huge.dcm": "dimensions_over_cap",
    }


def test_a_file_larger_than_any_image_is_not_read(folder):
    path = folder.add("large.dcm")
    with path.open("r+b") as file:
        file.truncate(65 * 2**20)  # sparse: 64 MiB of header and 2 bytes a pixel are allowed
    assert reasons(folder.ingest()) == {"large.dcm": "file_over_cap"}


def test_rows_without_a_file_and_files_without_a_row_are_listed(folder):
    folder.rows.append("missing.dcm,P1,L,CC,C")
    folder.rows.append("good,P1,L,CC,C")
    folder.add("extra.dcm", None)
    folder.add("1.2.840.113619", None)
    write_text(folder.root / "1.2.840.113620", "a name like a UID, but no DICOM")
    write_text(folder.root / "notes.txt", "not an image")
    write_text(folder.root / ".hidden.dcm", "not looked at")
    assert reasons(folder.ingest()) == {
        "missing.dcm": "file_missing",
        "good": "file_missing",  # a folder
        "extra.dcm": "file_not_in_table",
        "1.2.840.113619": "file_not_in_table",
    }


def test_paths_may_not_leave_the_root(folder, tmp_path):
    write_dicom(tmp_path / "outside.dcm")
    (tmp_path / "archive").mkdir()
    write_dicom(tmp_path / "archive" / "exam.dcm")
    (folder.root / "link.dcm").symlink_to(tmp_path / "outside.dcm")
    (folder.root / "archive").symlink_to(tmp_path / "archive")
    (folder.root / "inside.dcm").symlink_to(folder.root / "good/1.dcm")
    (folder.root / "loop.dcm").symlink_to(folder.root / "loop.dcm")
    outside = tmp_path / "outside.dcm"
    own = ("link.dcm", "archive/exam.dcm")
    for path in (*own, "../outside.dcm", str(outside), "good/../../outside.dcm", "loop.dcm"):
        folder.rows.append(f"{path},P1,L,CC,C")
    folder.rows.append(f"{'x' * 300}.dcm,P1,L,CC,C")
    ingested = folder.ingest()
    assert accepted(ingested) == ["archive/exam.dcm", "link.dcm"]  # the user's own links
    found = reasons(ingested)
    assert found == {
        "../outside.dcm": "path_outside_root",
        str(outside): "path_outside_root",
        "good/../../outside.dcm": "path_outside_root",
        "loop.dcm": "file_missing",
        f"{'x' * 300}.dcm": "file_missing",
        "inside.dcm": "file_not_in_table",
    }


def test_label_faults_set_the_row_aside(folder):
    folder.add("blank.dcm", "P1,L,CC,")
    folder.add("five.dcm", "P1,L,CC,5")
    ingested = folder.ingest()
    assert reasons(ingested) == {"blank.dcm": "label_missing", "five.dcm": "label_unmappable"}
    assert set(ingested.quarantine["patient_id"]) == {"P1"}


def test_equal_rows_of_a_path_are_one_and_unequal_ones_none(folder):
    folder.add("twice.dcm", "P1,L,CC,C")
    folder.rows.append("./twice.dcm,P1,L,CC,c")
    folder.add("labels.dcm", "P1,L,CC,C")
    folder.rows.append("labels.dcm,P1,L,CC,D")
    folder.add("blank.dcm", "P1,L,CC,C")
    folder.rows.append("blank.dcm,P1,L,CC,")
    folder.add("patients.dcm", "P1,L,CC,C")
    folder.rows.append("patients.dcm,P2,L,CC,C")
    ingested = folder.ingest()
    assert accepted(ingested) == ["twice.dcm"]
    assert reasons(ingested) == {
        "labels.dcm": "conflicting_labels",
        "blank.dcm": "conflicting_labels",
        "patients.dcm": "conflicting_rows",
    }


def test_rows_that_differ_say_in_what(folder):
    folder.add("twice.dcm", "P1,L,CC,C,train")
    folder.rows.append("twice.dcm,P1,L,CC,C,test")
    write_text(folder.table, f"{HEADER},split", *folder.rows)
    params = dataset("csv", folder.root, folder.table, columns=COLUMNS | {"split": "split"})
    rejected = ingest(params, ingest_params(), LIMITS).quarantine
    assert rejected["reason"].item() == "conflicting_rows"
    assert "published_split 'test' or 'train'" in rejected["detail"].item()


def test_the_header_fills_what_the_table_leaves_open(folder):
    folder.add("a.dcm", ",,,C", PatientID="H1", ImageLaterality="R", ViewPosition="MLO")
    folder.add("nobody.dcm", ",,,C", PatientID=None)
    folder.add("sideless.dcm", ",,,C", ImageLaterality=None)
    folder.add("viewless.dcm", ",,,C", ViewPosition=None)
    columns = COLUMNS | {"patient_id": None, "laterality": None, "view": None}
    ingested = ingest(folder.params(columns=columns), ingest_params(), LIMITS)
    row = ingested.files.set_index("path").loc["a.dcm"]
    assert (row["patient_id"], row["laterality"], row["view"]) == ("H1", "R", "MLO")
    assert reasons(ingested) == {
        "nobody.dcm": "patient_missing",
        "sideless.dcm": "laterality_missing",
        "viewless.dcm": "not_cc_mlo",
    }


def test_for_a_picture_the_column_is_named_that_could_say_side_and_view(folder):
    write_picture(folder.root / "side.png")
    write_picture(folder.root / "view.png")
    folder.rows += ["side.png,P1,,CC,C", "view.png,P1,L,,C"]
    ingested = folder.ingest()
    details = ingested.quarantine.set_index("path")["detail"]
    assert "a picture lacks" in details["side.png"]
    assert "dataset.columns.laterality" in details["side.png"]
    assert "dataset.columns.view" in details["view.png"]


def test_a_hidden_file_that_a_row_names_is_told_from_a_missing_one(folder):
    folder.add(".a.dcm", "P1,L,CC,C")
    folder.add(".study/b.dcm", "P1,L,CC,C")
    folder.rows.append(".none.dcm,P1,L,CC,C")
    ingested = folder.ingest()
    assert set(reasons(ingested).values()) == {"file_missing"}
    details = ingested.quarantine.set_index("path")["detail"]
    for path in (".a.dcm", ".study/b.dcm"):
        assert "begin with a dot are hidden" in details[path] and "rename" in details[path]
    assert "no file" in details[".none.dcm"]


@pytest.mark.parametrize("disk", ["tail.dcm ", "tail.dcm\N{NO-BREAK SPACE}", " tail.dcm"])
def test_a_name_with_a_blank_at_an_end_is_told_with_its_blank(folder, disk):
    folder.add(disk, None)  # a cell is stripped: no row can name it
    folder.rows.append("tail.dcm,P1,L,CC,C")
    details = folder.ingest().quarantine.set_index("path")["detail"]
    assert f"there is {disk!r}, with a blank at an end: rename it" in details["tail.dcm"]


def test_the_blank_may_be_at_a_folders_end(folder):
    folder.add("study /b.dcm", None)
    folder.rows.append("study/b.dcm,P1,L,CC,C")
    details = folder.ingest().quarantine.set_index("path")["detail"]
    assert "there is 'study /b.dcm', with a blank" in details["study/b.dcm"]


def test_another_file_that_is_named_for_a_missing_one_shows_its_blank(folder):
    folder.add("good/0.dcm ", None)
    folder.rows.append("good/3.dcm,P1,L,CC,C")
    details = folder.ingest().quarantine.set_index("path")["detail"]
    assert details["good/3.dcm"].endswith("; there is 'good/0.dcm '")


# ---- duplicates


@pytest.mark.parametrize("reason", ["duplicate_sop_instance_uid", "duplicate_pixels"])
def test_of_duplicates_within_a_patient_the_first_is_kept(folder, reason):
    same = duplicate_tags(reason)
    for path in ("b.dcm", "a.dcm", "c.dcm"):
        folder.add(path, **same)
    ingested = folder.ingest()
    assert accepted(ingested) == ["a.dcm"]
    assert reasons(ingested) == {"b.dcm": reason, "c.dcm": reason}
    flagged = folder.ingest(**{reason: "flag"})
    assert accepted(flagged) == ["a.dcm", "b.dcm", "c.dcm"]
    assert flagged.metrics["flagged"] == {reason: 2}


@pytest.mark.parametrize(
    ("reason", "policy"),
    [
        ("duplicate_sop_instance_uid", "reject"),
        ("duplicate_pixels", "reject"),
        ("duplicate_pixels", "flag"),
    ],
)
def test_duplicates_across_patients_are_an_error_that_names_both(folder, reason, policy):
    same = duplicate_tags(reason)
    folder.add("a.dcm", "P1,L,CC,C", **same)
    folder.add("b.dcm", "P2,L,CC,C", **same)
    with pytest.raises(
        UserError, match=rf"{reason}: .*a\.dcm \(patient P1\) and b\.dcm \(patient P2\)"
    ):
        folder.ingest(**{reason: policy})


def test_a_dummy_uid_in_every_file_is_no_identity_under_flag(folder):
    for number, row in enumerate(("P1,L,CC,C", "P1,L,MLO,C", "P2,R,CC,A")):
        side, view = row.split(",")[1:3]
        tags = {"ImageLaterality": side, "ViewPosition": view, "SOPInstanceUID": "1.2.3"}
        folder.add(f"{number}.dcm", row, **tags)
    flagged = folder.ingest(duplicate_sop_instance_uid="flag")
    assert accepted(flagged) == ["0.dcm", "1.dcm", "2.dcm"]
    assert flagged.metrics["flagged"] == {"duplicate_sop_instance_uid": 2}
    with pytest.raises(UserError, match="duplicate_sop_instance_uid: flag"):
        folder.ingest()


def test_blank_pixels_are_no_identity(folder):
    blank = np.zeros((12, 8), np.uint16)
    folder.add("a.dcm", "P1,L,CC,C", pixels=blank)
    folder.add("b.dcm", "P2,L,CC,C", pixels=blank)
    assert accepted(folder.ingest()) == ["a.dcm", "b.dcm"]  # preprocess finds no breast in them


def test_equal_pictures_of_two_patients_are_left_to_preprocess(folder):
    first = write_picture(folder.root / "a.png")
    (folder.root / "b.png").write_bytes(first.read_bytes())
    folder.rows += ["a.png,P1,L,CC,C", "b.png,P2,L,CC,C"]
    ingested = folder.ingest()
    assert accepted(ingested) == ["a.png", "b.png"]
    assert ingested.metrics["flagged"] == {"pixels_of_two_patients": 2}


def test_the_same_bytes_in_another_shape_are_another_image(folder):
    pixels = pixels_of("one")
    folder.add("a.dcm", "P1,L,CC,C", pixels=pixels)
    folder.add("b.dcm", "P2,L,CC,C", pixels=pixels.reshape(pixels.shape[::-1]))
    assert accepted(folder.ingest()) == ["a.dcm", "b.dcm"]


def test_duplicates_whose_rows_differ_are_all_rejected(folder):
    same = pixels_of("same")
    folder.add("a.dcm", "P1,L,CC,C", pixels=same)
    folder.add("b.dcm", "P1,L,CC,D", pixels=same)
    assert reasons(folder.ingest()) == {
        "a.dcm": "conflicting_duplicates",
        "b.dcm": "conflicting_duplicates",
    }


def duplicate_tags(reason: str) -> dict[str, Any]:
    if reason == "duplicate_pixels":
        return {"pixels": pixels_of("same")}
    return {"SOPInstanceUID": "1.2.3.4"}


# ---- faults of the whole


def test_nothing_accepted_is_an_error_that_gives_the_reasons(folder):
    folder.rows = ["good/1.dcm,G1,L,CC,", "good/2.dcm,G2,R,MLO,X"]
    with pytest.raises(UserError, match=r"none .* accepted: label_missing 1 .*label_unmappable 1"):
        folder.ingest()


def test_a_single_patient_is_an_error(folder):
    folder.rows = ["good/1.dcm,G1,L,CC,A", "good/2.dcm,G1,R,MLO,B"]
    with pytest.raises(UserError, match="at least two patients, got only patient 'G1'"):
        folder.ingest()


def test_other_data_than_the_phantom_need_a_key(folder):
    with pytest.raises(UserError, match=r"dataset\.key_file"):
        ingest(folder.params(key_file=None), ingest_params(), LIMITS)


def test_another_key_gives_other_keys_and_the_same_images(folder, tmp_path):
    (tmp_path / "dataset.key").write_text("0123456789abcdef" * 4)
    public = folder.ingest()
    params = folder.params(key_file=str(tmp_path / "dataset.key"))
    secret = ingest(params, ingest_params(), LIMITS)
    assert set(public.files["path"]) == set(secret.files["path"])
    assert not set(public.images["key"]) & set(secret.images["key"])
    assert not set(public.images["patient"]) & set(secret.images["patient"])


def test_a_key_file_may_lie_below_the_home(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "dataset.key").write_text("0123456789abcdef" * 4)
    ours, named = (
        ingest(folder.params(key_file=file), ingest_params(), LIMITS)
        for file in ("~/dataset.key", str(tmp_path / "dataset.key"))
    )
    assert list(ours.images["key"]) == list(named.images["key"])


# ---- pictures and published layouts, end to end


def test_mini_mias_films_go_through(tmp_path):
    for number in (1, 2, 3, 4, 5):
        write_picture(tmp_path / "all-mias" / f"mdb{number:03d}.pgm")
    table = write_text(tmp_path / "all-mias" / "Info.txt", *MIAS_INFO)
    params = dataset("mini_mias", tmp_path / "all-mias", table, classes="fatty_glandular_dense")
    ingested = ingest(params, ingest_params(), LIMITS)
    assert set(ingested.files["transfer_syntax_uid"]) == {"PGM"}
    assert ingested.metrics["images_by_class"] == {"F": 1, "G": 2, "D": 2}
    assert ingested.metrics["patients"] == 3
    assert ingested.metrics["rejected"] == {"file_missing": 4}


def test_pictures_are_checked_without_decoding(folder):
    write_picture(folder.root / "a.png")
    write_picture(folder.root / "b.jpg")
    write_picture(folder.root / "c.jpg", mode="RGB")
    write_picture(folder.root / "alpha.png", mode="LA")
    write_picture(folder.root / "five.tif", mode="CMYK")
    write_picture(folder.root / "cut.png")
    write_picture(folder.root / "cut.jpg")
    write_picture(folder.root / "cut.pgm")
    for name in ("cut.png", "cut.jpg", "cut.pgm"):
        content = (folder.root / name).read_bytes()
        (folder.root / name).write_bytes(content[:-14])
    flipped = bytearray(write_picture(folder.root / "flip.png").read_bytes())
    flipped[-30] ^= 1  # inside the picture's data: its checksum no longer holds
    (folder.root / "flip.png").write_bytes(flipped)
    for path in sorted(folder.root.glob("*.*")):
        folder.rows.append(f"{path.name},P1,L,CC,C")
    ingested = folder.ingest()
    assert accepted(ingested) == ["a.png", "alpha.png", "b.jpg", "c.jpg"]  # pixels: preprocess
    found = reasons(ingested)
    assert found == {
        "five.tif": "not_grey",
        "cut.jpg": "truncated_codestream",
        "cut.pgm": "unreadable_picture",
        "cut.png": "unreadable_picture",
        "flip.png": "unreadable_picture",
    }


def test_a_dicom_file_with_a_foreign_preamble_is_dicom(folder):
    path = folder.add("a.dcm")
    path.write_bytes(b"\xff\xd8\xff\xe0" + path.read_bytes()[4:])
    assert accepted(folder.ingest()) == ["a.dcm"]


def test_irma_takes_the_patient_from_the_header_else_the_accession(tmp_path):
    root = tmp_path / "irma"
    write_dicom(root / "0012" / "1.dcm", PatientID="H1")
    write_dicom(root / "0012" / "2.dcm", PatientID="H1", ImageLaterality="R")
    write_dicom(root / "0013" / "1.dcm", PatientID="")
    table = write_text(
        tmp_path / "classificacao.csv", "AccessionNumber,Classification", "0012,1", "0013,4"
    )
    ingested = ingest(dataset("irma", root, table), ingest_params(), LIMITS)
    files = ingested.files.set_index("path")
    assert files["patient_id"].to_dict() == {
        "0012/1.dcm": "H1",
        "0012/2.dcm": "H1",
        "0013/1.dcm": "0013",
    }
    assert set(files["accession_number"]) == {"0012", "0013"}


def test_an_image_without_a_patient_is_of_the_one_whom_its_exam_names(tmp_path):
    root = tmp_path / "irma"
    for exam, patients in {"0012": ["H1", ""], "0013": ["H2", "H3", ""], "0014": [""]}.items():
        for number, patient in enumerate(patients):
            write_dicom(root / exam / f"{number}.dcm", PatientID=patient, AccessionNumber=exam)
    table = write_text(
        tmp_path / "labels.csv", "AccessionNumber,Classification", "0012,1", "0013,4", "0014,2"
    )
    ingested = ingest(dataset("irma", root, table), ingest_params(), LIMITS)
    assert ingested.files.set_index("path")["patient_id"].to_dict() == {
        "0012/0.dcm": "H1",
        "0012/1.dcm": "H1",
        "0013/0.dcm": "H2",
        "0013/1.dcm": "H3",
        "0014/0.dcm": "0014",
    }
    assert reasons(ingested) == {"0013/2.dcm": "patient_missing"}


def test_rsna_headers_without_modality_go_through(tmp_path):
    for patient, image in (("10", "1"), ("11", "2")):
        write_dicom(tmp_path / "train_images" / patient / f"{image}.dcm", Modality=None)
    table = write_text(
        tmp_path / "train.csv",
        RSNA_HEADER,
        "1,10,1,L,CC,61.0,0,0,0,,0,A,29,False",
        "1,11,2,L,CC,61.0,0,0,0,,0,D,29,False",
    )
    ingested = ingest(dataset("rsna", tmp_path / "train_images", table), ingest_params(), LIMITS)
    assert len(ingested.files) == 2


# ---- the whole stage


def test_the_file_meta_information_tells_what_the_data_set_leaves_out(folder):
    path = folder.add("P1/1.dcm")
    image = pydicom.dcmread(path)
    identity = image.SOPInstanceUID
    del image.SOPClassUID, image.SOPInstanceUID, image.Modality
    image.save_as(path)
    ingested = folder.ingest()
    assert "P1/1.dcm" in accepted(ingested)
    assert identity in set(ingested.files["sop_instance_uid"])


@pytest.mark.slow
def test_several_processes_find_the_same_as_one(folder):
    for number in range(130):
        folder.add(f"{number:03d}.dcm", None)
    paths = sorted(path.name for path in folder.root.glob("*.dcm"))
    one = list(inspect_files(folder.root, paths, LIMITS, workers=1))
    assert list(inspect_files(folder.root, paths, LIMITS, workers=2)) == one
    assert len({inspection.sha256 for inspection in one}) == 130


def test_the_summary_counts_and_gives_one_example_a_reason(folder):
    folder.add("a.dcm", "P1,L,CC,A", PixelIntensityRelationship="LOG")
    folder.add("x.dcm", "P1,L,CC,")
    folder.add("y.dcm", "P1,L,CC,")
    ingested = folder.ingest()
    assert ingested.metrics["accepted"] == 3
    assert ingested.metrics["images_by_class"] == {"A": 2, "B": 1, "C": 0, "D": 0}
    assert ingested.metrics["patients_by_class"] == {"A": 2, "B": 1, "C": 0, "D": 0}
    assert ingested.metrics["imbalance_ratio"] == 2.0
    assert ingested.metrics["manufacturers"] == {"Maker": 3}
    assert ingested.metrics["pixel_intensity_relationships"] == {"LOG": 1, "unknown": 2}
    assert "jpeg_2000" in ingested.metrics["decoders"]
    assert ingested.metrics["rows"] == {"min": 12, "max": 12}
    text = format_summary(ingested.metrics, ingested.quarantine)
    assert "label_missing 2, such as 'x.dcm': the label cell is blank" in text
    assert "y.dcm" not in text
    assert "transfer syntax  Explicit VR Little Endian 3" in text


def test_a_class_of_fewer_patients_than_splits_is_said(folder):
    counts = {"A": 3, "B": 2, "C": 1, "D": 0}
    assert [warning[:19] for warning in thin_classes({"patients_by_class": counts})] == [
        "class B: 2 patients", "class C: 1 patient,",
    ]  # fmt: skip
    write_params(folder.root.parent, folder.params())
    write_text(folder.root.parent / "corrections.csv", "key,old,new,who,when")
    assert "class B: 1 patient, fewer than the 3 splits" in run_stage(folder.root.parent).stderr


def write_params(folder: Path, params: DatasetParams, **policies: str) -> None:
    sections = {
        "dataset": params.model_dump(),
        "ingest": ingest_params(**policies).model_dump(),
        "dicom": LIMITS.model_dump(),
    }
    (folder / "params.yaml").write_text(json.dumps(sections))  # JSON is YAML


def run_stage(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "stages" / "ingest.py")],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_stage_writes_the_same_bytes_twice(folder, tmp_path):
    folder.add("bad.dcm", "P1,L,CC,")
    write_params(tmp_path, folder.params())
    write_text(tmp_path / "corrections.csv", "key,old,new,who,when")
    outputs = ["files", "images", "labels", "quarantine"]
    first = run_stage(tmp_path)
    assert first.returncode == 0, first.stderr
    assert "accepted         2 images of 2 patients" in first.stderr
    before = [(tmp_path / "data" / f"{name}.csv").read_bytes() for name in outputs]
    metrics = (tmp_path / "metrics" / "ingest.json").read_bytes()
    assert run_stage(tmp_path).returncode == 0
    assert before == [(tmp_path / "data" / f"{name}.csv").read_bytes() for name in outputs]
    assert metrics == (tmp_path / "metrics" / "ingest.json").read_bytes()
    assert list(read_table(tmp_path / "data" / "quarantine.csv")["reason"]) == ["label_missing"]


@pytest.mark.slow
def test_a_fault_of_the_whole_ends_the_stage_with_one_line(folder, tmp_path):
    write_params(tmp_path, folder.params())
    folder.table.write_text("image_path,patient_id,laterality,view\n")
    stage = run_stage(tmp_path)
    assert stage.returncode == 1
    assert stage.stderr.startswith("error: ") and "must have 'density'" in stage.stderr
    assert "Traceback" not in stage.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.shared
def test_the_real_cdd_cesm_images_are_all_accepted(shared):
    data = shared / "data" / "cdd-cesm"
    params = dataset("csv", data / "dicom", data / "labels.csv")
    limits = Limits(max_pixels=100_000_000, max_inflated_mb=100)
    metrics = ingest(params, ingest_params(), limits).metrics
    assert (metrics["accepted"], metrics["patients"]) == (301, 165)
    assert metrics["images_by_class"] == {"A": 4, "B": 110, "C": 161, "D": 26}
    assert metrics["patients_by_class"]["A"] == 2
    assert metrics["imbalance_ratio"] == 40.25


# ---- names and places


def test_absolute_paths_below_the_root_are_those_of_the_root(folder, tmp_path):
    folder.add("a.dcm", None)
    folder.rows.append(f"{folder.root / 'a.dcm'},P1,L,CC,C")
    ingested = folder.ingest()
    assert accepted(ingested) == ["a.dcm"] and reasons(ingested) == {}
    folder.rows.append(f"{tmp_path / 'elsewhere.dcm'},P1,L,CC,C")
    detail = folder.ingest().quarantine["detail"].item()
    assert "absolute path" in detail and "relative" in detail


@pytest.mark.parametrize(("in_table", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_match_in_either_unicode_form(folder, in_table, on_disk):
    name = "José/cc.dcm"
    folder.add(unicodedata.normalize(on_disk, name), None)
    folder.rows.append(f"{unicodedata.normalize(in_table, name)},P1,L,CC,C")
    ingested = folder.ingest()
    assert accepted(ingested) == [unicodedata.normalize(on_disk, name)]
    assert reasons(ingested) == {}
    key = image_key(PUBLIC, unicodedata.normalize("NFC", name))
    assert key in set(ingested.images["key"])  # the same on every system


def test_equal_rows_in_both_unicode_forms_are_one(folder):
    name = "José/cc.dcm"
    folder.add(unicodedata.normalize("NFD", name), None)
    for form in ("NFC", "NFD"):
        folder.rows.append(f"{unicodedata.normalize(form, name)},P1,L,CC,C")
    ingested = folder.ingest()
    assert accepted(ingested) == [unicodedata.normalize("NFD", name)]
    assert reasons(ingested) == {}
    folder.rows[-1] = folder.rows[-1][:-1] + "D"
    assert set(reasons(folder.ingest()).values()) == {"conflicting_labels"}


def test_a_patient_is_one_in_either_unicode_form(folder):
    pixels = pixels_of("the same")
    for form in ("NFC", "NFD"):
        patient = unicodedata.normalize(form, "José")
        folder.add(f"{form}.dcm", f"{patient},L,CC,C")
        folder.add(f"{form}-again.dcm", f"{patient},L,CC,C", PixelData=pixels.tobytes())
    ingested = folder.ingest()
    assert ingested.images["patient"].nunique() == 3  # with the two good ones
    assert reasons(ingested) == {"NFD-again.dcm": "duplicate_pixels"}


def test_a_name_that_is_not_utf8_is_named(folder):
    try:
        (Path(os.fsdecode(os.fsencode(folder.root) + b"/C\xf3pia.dcm"))).write_bytes(b"x")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    ingested = folder.ingest()
    assert reasons(ingested) == {"C\\xf3pia.dcm": "file_name_not_utf8"}
    assert "rename" in ingested.quarantine["detail"].item()
    assert ingested.quarantine.to_csv().encode()


def test_a_fifo_is_never_opened(folder):
    os.mkfifo(folder.root / "pipe")
    os.mkfifo(folder.root / "named.dcm")
    folder.rows.append("named.dcm,P1,L,CC,C")
    assert reasons(folder.ingest()) == {"pipe": "special_file", "named.dcm": "file_unreadable"}


def test_links_in_a_circle_end(folder):
    (folder.root / "good" / "up").symlink_to(folder.root)
    found = survey(folder.root)
    assert "good/1.dcm" in found.files and len(found.files) < 10


def test_folders_may_lie_deep_in_each_other(folder):
    deep = folder.root / "/".join("d" * 600)
    deep.mkdir(parents=True)
    (deep / "a.dcm").write_bytes(b"x")
    assert "d/d/" * 300 + "a.dcm" in survey(folder.root).files


def test_an_unreadable_folder_stops_or_is_reported(folder, monkeypatch):
    folder.add("locked/a.dcm")
    original = os.scandir

    def refuse(path):  # root may read everything: the refusal is the system's, made here
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"locked: Permission denied.* hide 1 images.*: flag"):
        folder.ingest()
    flagged = folder.ingest(unreadable_folder="flag")
    assert reasons(flagged) == {"locked": "unreadable_folder", "locked/a.dcm": "unreadable_folder"}


def test_a_missing_file_is_told_with_one_that_exists(folder):
    folder.rows.append("good/3.dcm,P1,L,CC,C")
    detail = folder.ingest().quarantine["detail"].item()
    assert str(folder.root / "good/3.dcm") in detail and "there is good/1.dcm" in detail


@pytest.mark.parametrize("missing", ["2.dcm", "good/2", "GOOD/2.DCM", "elsewhere/2.png"])
def test_a_missing_file_is_told_with_the_one_of_its_name(folder, missing):
    folder.rows.append(f"{missing},P1,L,CC,C")
    detail = folder.ingest().quarantine.set_index("path")["detail"][missing]
    assert detail.endswith("there is good/2.dcm")


def test_what_contradicts_itself_and_is_read_is_flagged(folder):
    folder.add("frames.dcm", NumberOfFrames=0)
    ingested = folder.ingest()
    assert ingested.metrics["flagged"] == {"number_of_frames": 1}
    assert ingested.files.set_index("path").loc["frames.dcm", "flags"] == "number_of_frames"


def test_makers_that_are_not_known_count_as_other_unless_the_data_are_public(folder, tmp_path):
    folder.add("a.dcm", Manufacturer="Dr. Jane Roe's unit")
    folder.add("b.dcm", "P2,L,CC,C", Manufacturer="HOLOGIC, Inc.")
    (tmp_path / "dataset.key").write_text("k" * 40)
    params = folder.params(key_file=str(tmp_path / "dataset.key"))
    metrics = ingest(params, ingest_params(), LIMITS).metrics
    assert metrics["manufacturers"] == {"Hologic": 1, "other": 3}
    assert "Dr. Jane Roe's unit" in folder.ingest().metrics["manufacturers"]


# ---- corrections


def corrections(folder: Folder, *rows: str) -> DatasetParams:
    path = write_text(folder.table.parent / "mine.csv", "key,old,new,who,when", *rows)
    return folder.params(corrections=str(path))


def test_a_correction_changes_a_label_and_is_counted(folder):
    key = image_key(PUBLIC, "good/1.dcm")
    params = corrections(folder, f"{key},A,B,reader 1,2026-01-02")
    ingested = ingest(params, ingest_params(), LIMITS)
    assert ingested.labels.set_index("key").loc[key, "label"] == "B"
    assert ingested.metrics["corrected"] == 1
    assert ingested.metrics["images_by_class"]["B"] == 2
    assert ingest(corrections(folder), ingest_params(), LIMITS).metrics["corrected"] == 0


@pytest.mark.parametrize(
    "header",
    ["key;old;new;who;when", '"key","old","new","who","when"', "who,when,key,old,new,why\n,,,,,"],
)
def test_a_header_alone_corrects_nothing_whatever_a_spreadsheet_made_of_it(tmp_path, header):
    assert count(write_text(tmp_path / "mine.csv", header)) == 0


def test_corrections_without_their_columns_are_refused_by_their_own_key(tmp_path):
    with pytest.raises(UserError, match=r"must have 'who', 'when'.*dataset\.corrections"):
        count(write_text(tmp_path / "mine.csv", "key,old,new"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{key},B,C,r,d", "old must be the label that the table gives"),
        ("{key},A,E,r,d", "new must be one of A, B, C, D"),
        ("feed,A,B,r,d", "names no accepted image"),
    ],
)
def test_a_correction_that_contradicts_the_table_is_refused(folder, row, message):
    key = image_key(PUBLIC, "good/1.dcm")
    with pytest.raises(UserError, match=rf"mine\.csv: row 2 .*{message}"):
        ingest(corrections(folder, row.format(key=key)), ingest_params(), LIMITS)


def test_two_corrections_of_one_image_are_refused(folder):
    key = image_key(PUBLIC, "good/1.dcm")
    params = corrections(folder, f"{key},A,B,r,d", f"{key},B,C,r,d")
    with pytest.raises(UserError, match=r"row 3 .*earlier row"):
        ingest(params, ingest_params(), LIMITS)


def test_an_absent_table_of_corrections_is_told_with_its_header(folder):
    with pytest.raises(UserError, match="key,old,new,who,when alone"):
        ingest(folder.params(corrections="gone.csv"), ingest_params(), LIMITS)
