import io
import os
from pathlib import Path

import cv2
import pytest
import yaml

from mammo.errors import UserError
from mammo.predict.inspect import main
from support.bundles import write_bundle
from support.dicom_files import JPEG_2000, breast_pixels, dicom_bytes

ROOT = Path(__file__).resolve().parents[2]
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the project's params.yaml and a folder of images."""
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["preprocess"]["size_px"] = 64
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def lines(capsys) -> dict[str, str]:
    text = capsys.readouterr().out
    return {line[2:15].strip(): line[15:] for line in text.splitlines() if line.startswith("  ")}


def test_an_accepted_file_is_told_with_what_was_found(folder, capsys, tmp_path):
    content = dicom_bytes(breast_pixels(rows=256, columns=160), JPEG_2000, **WINDOW)
    (folder / "a.dcm").write_bytes(content)
    main([str(folder / "a.dcm"), "--png", str(tmp_path / "out")])
    said = lines(capsys)
    assert "accepted" in said
    assert said["syntax"].startswith("JPEG 2000 Image Compression (Lossless Only)")
    assert said["grey scale"].startswith("window,")
    assert said["breast"].startswith("rows 2") and said["chest wall"].startswith("left")
    assert said["flags"] == "none"
    assert cv2.imread(str(tmp_path / "out/a.dcm.png")).shape == (64, 64, 3)


def test_a_rejected_file_is_told_with_its_reason_and_all_others(folder, capsys):
    content = dicom_bytes(breast_pixels(), BurnedInAnnotation="YES", PartialView="YES", **WINDOW)
    (folder / "a.dcm").write_bytes(content)
    main([str(folder)])
    said = lines(capsys)
    assert said["rejected"].startswith("partial_view")
    assert said["also"].startswith("burned_in_annotation")
    assert "grey scale" in said  # and it is looked at all the same


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no image", "not_dicom"),
        (dicom_bytes(breast_pixels())[:-100], "truncated_pixels"),
        (dicom_bytes(breast_pixels() * 0), "no_breast"),
    ],
)
def test_what_cant_be_used_is_told(folder, capsys, content, reason):
    (folder / "a.dcm").write_bytes(content)
    main([str(folder / "a.dcm")])
    assert lines(capsys)["rejected"].startswith(reason)


def test_the_rules_of_a_bundle_need_no_params_yaml(folder, capsys, tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    (folder / "a.dcm").write_bytes(dicom_bytes(breast_pixels(), PartialView="YES", **WINDOW))
    (tmp_path / "params.yaml").unlink()
    with pytest.raises(UserError, match=r"params.yaml: not found; name .*--params.*--bundle"):
        main([str(folder / "a.dcm")])
    out = tmp_path / "out"
    main([str(folder / "a.dcm"), "--bundle", str(tmp_path / "bundle"), "--png", str(out)])
    assert lines(capsys)["rejected"].startswith("partial_view")
    size = bundle.preprocess.size_px
    assert cv2.imread(str(out / "a.dcm.png")).shape == (size, size, 3)


def test_a_folder_is_looked_through_as_for_answers(folder, capsys):
    (folder / "1.2.840.99").write_bytes(dicom_bytes(breast_pixels(), **WINDOW))
    (folder / "notes.txt").write_text("no image")
    main([str(folder)])
    said = capsys.readouterr().out
    assert said.startswith("1.2.840.99\n  accepted") and "notes" not in said


def test_no_such_place_is_an_error(folder):
    with pytest.raises(UserError, match="no such file or folder"):
        main([str(folder / "gone.dcm")])
    with pytest.raises(UserError, match="got none"):
        main([str(folder)])


def test_a_name_that_the_terminal_cant_show_is_told_in_escapes(folder, monkeypatch):
    (folder / "Fälle.dcm").write_bytes(b"no image")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    main([str(folder)])
    terminal.seek(0)
    assert terminal.readline() == "F\\xe4lle.dcm\n"


def test_what_a_folder_holds_that_is_no_readable_file_is_told(folder, capsys):
    os.mkfifo(folder / "waits.dcm")
    (folder / os.fsdecode(b"x\xff.dcm")).write_bytes(dicom_bytes(breast_pixels(), **WINDOW))
    main([str(folder)])
    said = capsys.readouterr().out
    assert "waits.dcm\n  rejected     special_file: a FIFO" in said
    assert "x\\xff.dcm\n  rejected     file_name_not_utf8: " in said
    with pytest.raises(UserError, match=r"x\\xff\.dcm: its name isn't UTF-8"):
        main([str(folder / os.fsdecode(b"x\xff.dcm"))])


def test_a_picture_that_cant_be_written_is_not_told_as_written(folder, tmp_path):
    (folder / "a.dcm").write_bytes(dicom_bytes(breast_pixels(), **WINDOW))
    (tmp_path / "out/a.dcm.png").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        main([str(folder / "a.dcm"), "--png", str(tmp_path / "out")])
