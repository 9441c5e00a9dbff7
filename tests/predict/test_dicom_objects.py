"""Answers as DICOM objects."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from mammo.errors import UserError
from mammo.predict.dicom_objects import (
    COMPOSITION,
    Finding,
    Model,
    check_classes,
    read_evidence,
    save,
    secondary_capture,
    structured_report,
    uid_of,
)
from support.dicom_files import breast_pixels, dicom_bytes
from support.reports import read_report

highdicom = pytest.importorskip("highdicom", reason="the extra dicom-sr isn't installed")

MODEL = Model("mammo probe", "0.1", "the makers", "f" * 64, "median")


@pytest.fixture
def study(tmp_path):
    """Two images of one study, headers as bare as real ones may be."""
    files = []
    for number, (side, view) in enumerate([("L", "CC"), ("R", "MLO")]):
        path = tmp_path / f"{number}.dcm"
        tags = dict(SOPInstanceUID=f"1.2.3.4.{number}", ImageLaterality=side, ViewPosition=view)
        path.write_bytes(dicom_bytes(breast_pixels(), StudyDate="20260102", **tags))
        files.append(path)
    return [read_evidence(path) for path in files]


def source(image):
    return image.SOPClassUID, image.SOPInstanceUID


def report_of(study):
    findings = [
        Finding("left breast", "L", "B", 0.7, [source(study[0])]),
        Finding("right breast", "R", "D", 0.4321, [source(study[1])]),
        Finding("patient", "", "C", 0.5, [source(image) for image in study]),
    ]
    return structured_report(study, findings, MODEL)


def errors_of(path):
    """Let dciodvfy judge a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy isn't installed (Debian: apt-get install dicom3tools)")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def test_the_codes_are_those_of_the_standard():
    codes = pytest.importorskip("pydicom.sr.codedict").codes
    for name, keyword in (
        ("A", "AlmostEntirelyFat"), ("B", "ScatteredFibroglandularDensities"),
        ("C", "HeterogeneouslyDense"), ("D", "ExtremelyDense"),
    ):  # fmt: skip
        assert COMPOSITION[name] == getattr(codes.cid6000, keyword)


def test_a_report_reads_back_with_its_answers_and_images(study, tmp_path):
    save(report_of(study), tmp_path / "report.dcm")
    found = read_report(tmp_path / "report.dcm")
    assert [(f["name"], f["answer"], f["probability"]) for f in found] == [
        ("left breast", "B", 0.7), ("right breast", "D", 0.4321), ("patient", "C", 0.5),
    ]  # fmt: skip
    assert found[2]["sources"] == ["1.2.3.4.0", "1.2.3.4.1"]


def test_a_report_belongs_to_the_study_and_names_the_model_as_its_observer(study, tmp_path):
    save(report_of(study), tmp_path / "report.dcm")
    report = pydicom.dcmread(tmp_path / "report.dcm")
    assert report.StudyInstanceUID == "1.2.3" and report.PatientID == "P1"
    assert report.VerificationFlag == "UNVERIFIED"
    text = str(report)
    for word in ("mammo probe", "Device Observer", "the makers", "not for clinical use"):
        assert word in text
    referenced = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    instances = {i.ReferencedSOPInstanceUID for s in referenced for i in s.ReferencedSOPSequence}
    assert instances == {"1.2.3.4.0", "1.2.3.4.1"}


def test_a_report_passes_the_validator(study, tmp_path):
    save(report_of(study), tmp_path / "report.dcm")
    assert errors_of(tmp_path / "report.dcm") == []


def test_a_picture_passes_the_validator_and_reads_back(study, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    save(secondary_capture(picture, study[0], "B, 70 %", MODEL), tmp_path / "picture.dcm")
    read = pydicom.dcmread(tmp_path / "picture.dcm")
    assert (read.pixel_array == picture).all() and read.StudyInstanceUID == "1.2.3"
    assert errors_of(tmp_path / "picture.dcm") == []


def test_a_second_run_makes_the_same_object(study):
    first, second = report_of(study), report_of(study)
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert uid_of("a") != uid_of("b") and len(uid_of("a")) <= 64


def test_classes_without_codes_are_refused():
    with pytest.raises(UserError, match=r"--dicom-sr: .* AB, CD"):
        check_classes(["AB", "CD"])
    check_classes(["A", "B", "C", "D"])


def test_an_image_without_a_study_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(breast_pixels(), StudyInstanceUID=None))
    with pytest.raises(UserError, match="StudyInstanceUID"):
        read_evidence(tmp_path / "a.dcm")
