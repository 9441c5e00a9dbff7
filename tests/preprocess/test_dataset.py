import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from mammo.errors import UserError
from mammo.preprocess import dataset as decoding
from mammo.storage.tensors import OUTLINES, Tensors, gather_outlines
from support.decoding import contents_of, mammogram, run, some_files, write_files
from support.dicom_files import JPEG_2000, JPEG_LOSSLESS
from support.imports import code_deps
from support.preprocessing import LIMITS, PARAMS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_file_becomes_a_tensor_or_a_row_of_the_quarantine(tmp_path):
    good = {f"P{n}/{n}.dcm": mammogram(n) for n in range(4)}
    bad = {
        "P8/cut.j2k": mammogram(8, JPEG_2000)[:-300],
        "P9/wide.dcm": mammogram(9, BitsStored=9, HighBit=8),
    }
    files = write_files(tmp_path / "images", good | bad)
    result, folder = run(tmp_path, files)
    tensors, outlines = Tensors(folder), Tensors(folder / OUTLINES)
    assert len(tensors) == 4
    assert outlines.keys == tensors.keys
    masks = gather_outlines(outlines, np.arange(4))
    images = tensors.gather(np.arange(4))
    assert masks.shape == images.shape and masks.dtype == bool
    assert images[masks].mean() > 10 * images[~masks].mean()
    assert result.quarantine[["path", "patient_id", "reason"]].to_numpy().tolist() == [
        ["P8/cut.j2k", "P8", "truncated_pixels"],
        ["P9/wide.dcm", "P9", "values_exceed_bits_stored"],
    ]
    assert result.metrics["accepted"] == 4
    assert result.metrics["rejected_by_reason"] == {
        "truncated_pixels": 1,
        "values_exceed_bits_stored": 1,
    }
    assert result.metrics["grey_scale"] == {"window": 4}
    assert "openjpeg" in result.metrics["decoders"]["jpeg_2000"]
    assert json.dumps(result.metrics)


@pytest.mark.slow
def test_a_breast_against_its_laterality_is_counted(tmp_path):
    files = some_files(tmp_path / "images", 3)
    files.loc[0, "laterality"] = "R"
    result, _ = run(tmp_path, files)
    assert result.metrics["flagged"] == {"chest_wall_against_laterality": 1}


def decoded_paths(monkeypatch) -> list[str]:
    """Record the files that are handed to workers."""
    seen: list[str] = []
    original = decoding.run_tasks

    def recording(function, tasks, processes, bounds):
        def noted():
            for task in tasks:
                seen.append(Path(task["path"]).name)
                yield task

        return original(function, noted(), processes, bounds)

    monkeypatch.setattr(decoding, "run_tasks", recording)
    return seen


@pytest.mark.slow
def test_only_what_is_new_is_decoded_and_the_bytes_are_those_of_a_run_from_nothing(
    tmp_path, monkeypatch
):
    seen = decoded_paths(monkeypatch)
    few = some_files(tmp_path / "images", 4)
    run(tmp_path, few, "few")
    assert sorted(seen) == ["0.dcm", "1.dcm", "2.dcm", "3.dcm"]
    seen.clear()
    many = some_files(tmp_path / "images", 6)
    grown, grown_folder = run(tmp_path, many, "grown")
    assert sorted(seen) == ["4.dcm", "5.dcm"]
    fresh, fresh_folder = run(tmp_path, many, "fresh", store="another", workers=2)
    assert contents_of(grown_folder) == contents_of(fresh_folder)
    assert grown.metrics == fresh.metrics


@pytest.mark.slow
def test_a_label_decodes_nothing_and_a_parameter_everything(tmp_path, monkeypatch):
    seen = decoded_paths(monkeypatch)
    files = some_files(tmp_path / "images", 3)
    run(tmp_path, files, "first")
    seen.clear()
    run(tmp_path, files.assign(label="A"), "labelled", workers=2, shard_mb=2)
    assert seen == []
    run(tmp_path, files, "uncropped", crop=False)
    assert len(seen) == 3


@pytest.mark.slow
def test_new_decoder_versions_decode_everything(tmp_path, monkeypatch):
    seen = decoded_paths(monkeypatch)
    files = some_files(tmp_path / "images", 2)
    run(tmp_path, files, "first")
    versions = decoding.codecs.versions() | {"rle": "another"}
    monkeypatch.setattr(decoding.codecs, "versions", lambda: versions)
    run(tmp_path, files, "second")
    assert len(seen) == 4


@pytest.mark.slow
def test_a_broken_entry_of_the_store_is_made_again(tmp_path):
    files = some_files(tmp_path / "images", 3)
    _, first = run(tmp_path, files, "first")
    for number, path in enumerate(sorted((tmp_path / "store").rglob("*.kept"))):
        path.write_bytes(path.read_bytes()[: 40 * (number % 3)])
    _, second = run(tmp_path, files, "second")
    assert contents_of(first) == contents_of(second)


@pytest.mark.slow
def test_the_same_image_twice_is_kept_once_within_a_patient(tmp_path):
    image = mammogram(1)
    other = mammogram(1, JPEG_LOSSLESS)  # the same pixels in another transfer syntax
    files = write_files(tmp_path / "images", {"P1/a.dcm": image, "P1/b.dcm": other})
    result, folder = run(tmp_path, files)
    assert len(Tensors(folder)) == 1
    assert list(result.quarantine["reason"]) == ["duplicate_pixels"]
    flagged, folder = run(tmp_path, files, "flagged", duplicate_pixels="flag")
    assert len(Tensors(folder)) == 2
    assert flagged.metrics["duplicate_pixels"] == 1


def test_the_same_image_under_two_patients_is_an_error_that_names_both(tmp_path):
    image = mammogram(1)
    files = write_files(tmp_path / "images", {"P1/a.dcm": image, "P2/b.dcm": image})
    with pytest.raises(UserError, match=r"P1/a\.dcm") as caught:
        run(tmp_path, files)
    assert "P2/b.dcm" in str(caught.value)


def test_nothing_accepted_is_an_error_that_counts_the_reasons(tmp_path):
    files = write_files(tmp_path / "images", {"P1/a.dcm": b"no DICOM", "P2/b.dcm": b"nor this"})
    with pytest.raises(UserError, match="not_dicom: 2"):
        run(tmp_path, files)
    with pytest.raises(UserError, match="at least one image"):
        run(tmp_path, files.head(0), "empty")


@pytest.mark.slow
def test_a_changed_and_a_missing_file_are_quarantined(tmp_path):
    files = some_files(tmp_path / "images", 3)
    (tmp_path / "images" / "P0/0.dcm").write_bytes(mammogram(40))
    (tmp_path / "images" / "P1/1.dcm").unlink()
    result, _ = run(tmp_path, files)
    assert list(result.quarantine["reason"]) == ["changed_since_ingest", "unreadable_file"]


def stage_folder(tmp_path: Path, count: int) -> Path:
    """A working directory for stages/preprocess.py."""
    (tmp_path / "data").mkdir()
    some_files(tmp_path / "images", count).to_csv(tmp_path / "data/files.csv", index=False)
    sections = {
        "preprocess": PARAMS.model_dump(),
        "dicom": LIMITS.model_dump(),
        "dataset": {"root": str(tmp_path / "images")},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(sections))
    return tmp_path


def start_stage(folder: Path) -> subprocess.Popen:
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "stages/preprocess.py")],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # a test run started in the background may itself ignore SIGINT, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_stage_goes_on_where_it_stopped(tmp_path, how):
    folder = stage_folder(tmp_path, 60)
    stage = start_stage(folder)
    kept = folder / ".cache/images"
    while len(list(kept.rglob("*.kept"))) < 8:
        assert stage.poll() is None, stage.communicate()[1]
        time.sleep(0.01)
    stage.send_signal(how)
    stage.wait(timeout=20)
    assert not (folder / "data/tensors").exists()
    before = len(list(kept.rglob("*.kept"))) // 2
    assert 0 < before < 60
    again = start_stage(folder)
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert "0 of 60 images are in the scratch store" not in errors
    assert len(Tensors(folder / "data/tensors")) == 60
    assert np.load(folder / "data/tensors/shard-00000.npy").dtype == np.uint8
    assert (folder / "metrics/preprocess.json").exists()
    assert (folder / "data/quarantine_pixels.csv").read_text() == "path,patient_id,reason,detail\n"


@pytest.mark.slow
def test_a_stage_without_a_usable_file_ends_with_one_line(tmp_path):
    folder = stage_folder(tmp_path, 2)
    for path in (tmp_path / "images").rglob("*.dcm"):
        path.write_bytes(b"overwritten")
    stage = start_stage(folder)
    _, errors = stage.communicate(timeout=60)
    assert stage.returncode == 1
    assert "error: data/files.csv: no image could be used (changed_since_ingest: 2)" in errors
    assert "Traceback" not in errors
    assert not (folder / "data/tensors").exists()


def test_the_store_forgets_a_tensor_when_any_code_that_made_it_changes():
    reached = code_deps("src/mammo/preprocess/image.py", ROOT)
    known = {f"src/{package.replace('.', '/')}" for package in decoding._CODE}
    own = {"src/mammo/preprocess/image.py"}
    # a task's envelope: no pixel passes through
    assert reached - known - own <= {"src/mammo/running", "src/mammo/storage"}
    assert known <= reached
