"""New files -> tables of answers."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.errors import UserError
from mammo.evaluation.inference import predict_cases
from mammo.predict import predict as module
from mammo.predict.bundle import read_bundle
from mammo.predict.cli import main
from mammo.predict.intake import find_sources
from mammo.predict.out_folder import check_out, one_run
from mammo.preprocess.dataset import decode_files
from mammo.storage.cells import restored
from mammo.storage.files import read_table
from mammo.storage.scratch import Store
from support.bundles import devices, write_bundle, write_mammograms
from support.dicom_files import breast_pixels, dicom_bytes
from support.pipeline_copy import ROOT
from support.read_only import run_beside_read_only
from support.reports import read_report

KEY = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle, two patients' mammograms beside what can't be answered, and a run on them."""
    folder = tmp_path_factory.mktemp("predict")
    write_bundle(folder / "bundle")
    write_mammograms(folder / "in")
    (folder / "in" / "broken.dcm").write_bytes(b"no DICOM at all")
    chest = dicom_bytes(
        breast_pixels(seed=99), Modality="CR", SOPClassUID="1.2.3", PatientID="SECRET9"
    )
    (folder / "in" / "chest.dcm").write_bytes(chest)
    main(["predict", str(folder / "in"), "--bundle", str(folder / "bundle"),
          "--out", str(folder / "out")])  # fmt: skip
    return folder


def run(made, *arguments, out="out"):
    main(["predict", str(made / "in"), "--bundle", str(made / "bundle"),
          "--out", str(made / out), *arguments])  # fmt: skip


def test_every_image_is_answered_or_quarantined_with_the_reasons_of_ingestion(made):
    images, quarantine = (
        read_table(made / "out" / f"{n}.csv") for n in ("predictions", "quarantine")
    )
    assert len(images) == 8 and set(images["view"]) == {"CC", "MLO"}
    assert dict(zip(quarantine["file"], quarantine["reason"], strict=True)) == {
        "broken.dcm": "not_dicom", "chest.dcm": "not_mammography",
    }  # fmt: skip


def test_probabilities_answers_and_sets_agree(made):
    columns = [f"probability_{c}" for c in "ABCD"]
    images = read_table(made / "out/predictions.csv", **dict.fromkeys(columns, float))
    probabilities = images[columns].to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert list(images["answer"]) == ["ABCD"[k] for k in probabilities.argmax(axis=1)]
    assert all(a in s.split() for a, s in zip(images["answer"], images["set"], strict=True))
    assert set(images["decision"]) == {"argmax"}


def test_calibrated_probabilities_follow_from_the_temperature_and_change_no_answer(made):
    types = {f"{kind}_{c}": float for kind in ("probability", "calibrated") for c in "ABCD"}
    images = read_table(made / "out/predictions.csv", **types)
    stated, calibrated = (
        images[[f"{kind}_{c}" for c in "ABCD"]].to_numpy() for kind in ("probability", "calibrated")
    )
    cooled = stated ** (1 / 1.5)  # the temperature that support.bundles writes
    np.testing.assert_allclose(calibrated, cooled / cooled.sum(axis=1, keepdims=True), atol=1e-7)
    assert np.abs(calibrated - stated).max() > 0.01
    assert list(images["answer"]) == ["ABCD"[k] for k in stated.argmax(axis=1)]
    assert json.loads((made / "out/run.json").read_text())["temperature"] == 1.5


@pytest.mark.slow
def test_the_answers_are_those_of_the_deployed_path(made, tmp_path):
    """The same files, prepared and answered as the stages do it."""
    bundle = read_bundle(made / "bundle")
    store = made / "out" / ".work" / "images"
    sources = find_sources(made / "in")
    intake = module.take_in(
        sources, bundle.ingest, bundle.preprocess, bundle.limits, b"x" * 32, Store(store),
        _empty(tmp_path / "a"),
    )  # fmt: skip
    tensors = _empty(tmp_path / "b")
    decode_files(
        intake.files, made / "in", bundle.preprocess, bundle.limits, Store(tmp_path / "s"), tensors
    )
    keys = list(intake.files["key"])
    raw = predict_cases(
        bundle.members[0], tensors, keys, bundle.evaluate, bundle.compute, devices()
    )
    expected = bundle.answering(0).assume(raw)
    columns = [f"probability_{c}" for c in "ABCD"]
    written = read_table(made / "out/predictions.csv", **dict.fromkeys(columns, float))
    written = written.set_index("file").loc[list(intake.files["path"]), columns]
    assert np.abs(written.to_numpy() - expected).max() < 1e-6


def _empty(folder):
    folder.mkdir()
    return folder


def test_breasts_are_means_over_views_and_patients_take_the_denser_breast(made):
    columns = [f"probability_{c}" for c in "ABCD"]
    types = dict.fromkeys(columns, float)
    images = read_table(made / "out/predictions.csv", **types)
    breasts = read_table(made / "out/breasts.csv", **types)
    patients = read_table(made / "out/patients.csv", **types)
    assert len(breasts) == 4 and len(patients) == 2 and set(patients["images"]) == {"4"}
    first = images[(images["patient"] == "SECRET0") & (images["laterality"] == "L")]
    row = breasts[(breasts["patient"] == "SECRET0") & (breasts["laterality"] == "L")]
    assert np.allclose(row[columns], first[columns].mean(), atol=1e-8)
    for _, patient in patients.iterrows():
        own = breasts[breasts["patient"] == patient["patient"]][columns].to_numpy()
        denser = own[(own @ np.arange(4)).argmax()]
        assert np.allclose(patient[columns].astype(float), denser)


@pytest.mark.slow
def test_two_studies_of_a_patient_are_two_rows(made, tmp_path):
    shutil.copytree(made / "in", tmp_path / "in")
    again = breast_pixels(seed=500)
    (tmp_path / "in" / "later.dcm").write_bytes(dicom_bytes(
        again, PatientID="SECRET0", StudyInstanceUID="1.2.99", SOPInstanceUID="1.2.99.1",
        Manufacturer="Maker",
    ))  # fmt: skip
    main(["predict", str(tmp_path / "in"), "--bundle", str(made / "bundle"),
          "--out", str(tmp_path / "out")])  # fmt: skip
    patients = read_table(tmp_path / "out/patients.csv")
    assert list(patients["patient"]).count("SECRET0") == 2


def keys_asked(monkeypatch):
    """Collect the keys of the images that the networks are asked for from now on."""
    asked = []
    real = module.answer

    def counted(bundle, tensors, keys, devices):
        asked.extend(keys)
        return real(bundle, tensors, keys, devices)

    monkeypatch.setattr(module, "answer", counted)
    return asked


def test_a_second_run_answers_only_what_is_missing_and_writes_the_same(made, monkeypatch):
    before = (made / "out/predictions.csv").read_bytes()
    asked = keys_asked(monkeypatch)
    run(made)
    assert asked == [] and (made / "out/predictions.csv").read_bytes() == before
    kept = sorted(p for p in (made / "out/.work/answers").rglob("*") if p.is_file())
    kept[0].unlink()
    run(made)  # alone in its batch, it is answered the same but for rounding
    assert len(asked) == 1
    again, first = pd.read_csv(made / "out/predictions.csv"), pd.read_csv(io.BytesIO(before))
    pd.testing.assert_frame_equal(again, first, rtol=1e-5)


def test_answers_of_other_code_are_not_taken_for_this_ones(made, monkeypatch):
    """After an update of the project, say; one module stands for all that differ."""
    asked = keys_asked(monkeypatch)
    monkeypatch.setattr(module, "_CODE", ("mammo.network",))
    run(made)
    assert len(asked) == 8


def whole(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_run_that_fails_leaves_the_earlier_results_whole(made, monkeypatch):
    before = whole(made / "out")

    def broken(*_):
        raise RuntimeError("stopped")

    monkeypatch.setattr(module, "level_table", broken)
    with pytest.raises(RuntimeError, match="stopped"):
        run(made)
    assert whole(made / "out") == before and "run.json" in before


@pytest.mark.slow
def test_no_cell_that_comes_from_outside_is_a_formula_and_all_come_back(made, tmp_path):
    folder, names = tmp_path / "in", ["=cmd.dcm", "+1.dcm", "-1.dcm", "@x.dcm", "'quoted.dcm"]
    folder.mkdir()
    for number, name in enumerate(names):
        patient = {"PatientID": f"{name[0]}P{number}", "StudyInstanceUID": f"1.2.66.{number}"}
        content = dicom_bytes(
            breast_pixels(seed=number), SOPInstanceUID=f"1.2.6.{number}", **patient
        )
        (folder / name).write_bytes(content)
    (folder / "=HYPERLINK(1).dcm").write_bytes(b"no DICOM at all")
    arguments = ["predict", str(folder), "--bundle", str(made / "bundle"),
                 "--out", str(tmp_path / "out")]  # fmt: skip
    main(arguments)
    tables = {
        name: read_table(tmp_path / "out" / f"{name}.csv")
        for name in ("predictions", "breasts", "patients", "quarantine")
    }
    for name, table in tables.items():
        cells = table.to_numpy().ravel().tolist()
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))], name
    assert sorted(restored(tables["predictions"])["file"]) == sorted(names)
    patients = sorted(f"{name[0]}P{number}" for number, name in enumerate(names))
    for name in ("predictions", "breasts", "patients"):
        assert sorted(restored(tables[name])["patient"]) == patients, name
    assert list(restored(tables["quarantine"])["file"]) == ["=HYPERLINK(1).dcm"]
    before = whole(tmp_path / "out")
    main(arguments)
    assert whole(tmp_path / "out") == before


@pytest.mark.slow
def test_hashed_identifiers_leave_no_trace_of_the_real_ones(made, tmp_path):
    key = tmp_path / "predict.key"
    key.write_text(KEY)
    run(made, "--identifiers", "hash", "--key-file", str(key), "--explain", out="hashed")
    written = [p for p in (made / "hashed").rglob("*") if p.is_file() and ".work" not in p.parts]
    assert len(written) > 5
    for path in written:
        content = path.read_bytes() + str(path.relative_to(made)).encode()
        for name in (b"SECRET", b"1.2.77", b"1.2.88", b"patient 0", b"LCC"):
            assert name not in content, path
    images = read_table(made / "hashed/predictions.csv")
    assert images["patient"].nunique() == 2 and images["study"].nunique() == 2


def test_hashing_without_a_secret_is_refused(made):
    with pytest.raises(SystemExit, match="--identifiers hash: needs --key-file"):
        run(made, "--identifiers", "hash", out="never")
    assert not (made / "never").exists()


def test_a_secret_is_a_file_of_enough_bytes_that_is_asked_for(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.key").write_text("short")
    for file, words in (("public", "no such file"), ("short.key", "32 or more bytes, got 5")):
        with pytest.raises(SystemExit, match=f"--key-file {file}: .*{words}.* > predict.key"):
            run(made, "--identifiers", "hash", "--key-file", file, out="never")
    with pytest.raises(SystemExit, match=r"--key-file short\.key: needs --identifiers hash"):
        run(made, "--key-file", "short.key", out="never")
    assert not (made / "never").exists()


@pytest.mark.parametrize("text", ["90", "much", "nan"])
def test_a_coverage_that_is_no_share_is_refused_with_its_bounds(made, text, capsys):
    with pytest.raises(SystemExit):
        run(made, "--coverage", text, out="never")
    assert f"must lie between 0.5 and 1, got {text}" in capsys.readouterr().err


def test_run_json_names_the_bundle_and_counts(made):
    facts = json.loads((made / "out/run.json").read_text())
    assert facts["bundle"] == read_bundle(made / "bundle").id
    assert facts["images"] == 8 and facts["patients"] == 2 and facts["unfamiliar"] >= 0
    assert facts["quarantined"] == {"not_dicom": 1, "not_mammography": 1}
    assert sum(facts["answers"].values()) == 8


@pytest.mark.slow
def test_one_file_and_a_table_without_labels_do_as_well_as_a_folder(made, tmp_path):
    folder = read_table(made / "out/predictions.csv").set_index("file")
    (tmp_path / "list.csv").write_text(
        "image_path;patient_id\npatient 0/LCC.dcm;P7\nnowhere.dcm;P8\n"
    )
    main(["predict", str(tmp_path / "list.csv"), "--root", str(made / "in"), "--bundle",
          str(made / "bundle"), "--out", str(tmp_path / "out")])  # fmt: skip
    images = read_table(tmp_path / "out/predictions.csv")
    assert list(images["patient"]) == ["P7"]
    assert images["answer"][0] == folder.loc["patient 0/LCC.dcm", "answer"]
    assert list(read_table(tmp_path / "out/quarantine.csv")["reason"]) == ["file_missing"]
    main(["predict", str(made / "in/patient 1/RMLO.dcm"), "--bundle", str(made / "bundle"),
          "--out", str(tmp_path / "one")])  # fmt: skip
    assert len(read_table(tmp_path / "one/predictions.csv")) == 1


def test_a_root_is_a_folder_and_a_tables(made, tmp_path):
    (tmp_path / "list.csv").write_text("image_path\npatient 0/LCC.dcm\n")
    for place, root, words in (
        (tmp_path / "list.csv", tmp_path / "nowhere", "no such folder"),
        (made / "in", made / "in", "is for a table's paths, got a folder"),
        (made / "in/patient 0/LCC.dcm", made / "in", "is for a table's paths, got a file"),
    ):
        with pytest.raises(SystemExit, match=f"--root {root}: {words}"):
            main(["predict", str(place), "--root", str(root), "--bundle", str(made / "bundle"),
                  "--out", str(tmp_path / "out")])  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_nothing_to_answer_is_an_error_that_still_leaves_the_quarantine(made, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.dcm").write_bytes(b"no")
    with pytest.raises(SystemExit, match="no image could be answered; `mammo inspect FILE --b"):
        main(["predict", str(tmp_path / "in"), "--bundle", str(made / "bundle"),
              "--out", str(tmp_path / "out")])  # fmt: skip
    assert len(pd.read_csv(tmp_path / "out/quarantine.csv")) == 1


def test_a_second_run_keeps_out_of_a_folder_that_another_one_writes(made):
    with one_run(made / "out"), pytest.raises(SystemExit, match="out: is being written by process"):
        run(made)
    run(made)


def test_a_home_is_found_where_the_shell_leaves_it(made, tmp_path, monkeypatch):
    """As in `--out=~/x`; pandas would look for tables below the home, all else in a folder `~`."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "bundle", tmp_path / "home/bundle")
    file = str(made / "in/patient 0/LCC.dcm")
    main(["predict", file, "--bundle=~/bundle", "--out=~/out"])
    assert len(read_table(tmp_path / "home/out/predictions.csv")) == 1
    main(["inspect", file, "--bundle=~/bundle", "--png=~/png"])
    assert (tmp_path / "home/png/LCC.dcm.png").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_dicom_file_is_found_whatever_its_name_ends_in(made, tmp_path):
    mammogram = (made / "in/patient 0/LCC.dcm").read_bytes()
    for name in ("scan.img", "Dr. Meier", "a.dcm.bak", "plain", "1.2.3"):
        (tmp_path / name).write_bytes(mammogram)
    (tmp_path / "notes.txt").write_text("no image")
    paths = [row.path for row in find_sources(tmp_path).rows]
    assert sorted(paths) == ["1.2.3", "Dr. Meier", "a.dcm.bak", "plain", "scan.img"]


def test_an_earlier_run_inside_the_folder_is_no_mammogram(made, tmp_path, monkeypatch):
    shutil.copytree(made / "in", tmp_path / "in")
    (tmp_path / "in/results/maps").mkdir(parents=True)
    (tmp_path / "in/results/maps/0123.png").write_bytes(b"a picture")
    monkeypatch.chdir(tmp_path / "in")
    paths = [row.path for row in find_sources(Path(), out=Path("results")).rows]
    assert len(paths) == 10 and not [path for path in paths if path.startswith("results")]


def test_rows_of_a_table_that_contradict_each_other_are_set_aside(made, tmp_path):
    rows = ("LCC.dcm,P7", "LCC.dcm,P8", "RCC.dcm,P7", "RCC.dcm,P7")
    (tmp_path / "list.csv").write_text("image_path,patient_id\n" + "\n".join(rows))
    main(["predict", str(tmp_path / "list.csv"), "--root", str(made / "in/patient 0"), "--bundle",
          str(made / "bundle"), "--out", str(tmp_path / "out")])  # fmt: skip
    assert list(read_table(tmp_path / "out/predictions.csv")["file"]) == ["RCC.dcm"]
    rejected = read_table(tmp_path / "out/quarantine.csv")
    assert list(rejected["reason"]) == ["conflicting_rows"]


@pytest.mark.parametrize("above", ["\n", ";;;\r\n", "  \n\n"])
def test_a_tables_patients_and_sides_are_read_below_blank_lines(tmp_path, above):
    (tmp_path / "list.csv").write_text(
        f'{above}"image_path";patient_id;laterality;view\na.dcm;P7;R;MLO\n'
    )
    (row,) = find_sources(tmp_path / "list.csv").rows
    assert (row.patient_id, row.laterality, row.view) == ("P7", "R", "MLO")


def test_a_table_of_another_encoding_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes("image_path,view\nMüller.dcm,CC\n".encode("cp1252"))
    with pytest.raises(UserError, match="must be UTF-8 text"):
        find_sources(tmp_path / "list.csv")


def test_a_folder_with_other_things_in_it_is_not_written_over(made, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SystemExit, match="must be empty or a folder of an earlier run"):
        main(
            ["predict", str(made / "in"), "--bundle", str(made / "bundle"), "--out", str(tmp_path)]
        )
    assert (tmp_path / "thesis.tex").exists() and len(list(tmp_path.iterdir())) == 1


def test_what_a_desktop_leaves_in_a_folder_is_in_nobodys_way(tmp_path):
    (tmp_path / "maps").mkdir()
    for name in ("run.json", ".DS_Store", "maps/Thumbs.db"):
        (tmp_path / name).touch()
    check_out(tmp_path)


@pytest.mark.parametrize("earlier_run", [False, True])
def test_a_folder_of_mammograms_named_as_a_run_names_its_own_is_not_removed(
    made, tmp_path, earlier_run
):
    exam = tmp_path / "exam"
    write_mammograms(exam / "dicom", patients=1)
    if earlier_run:
        (exam / "run.json").write_text("{}")
    with pytest.raises(SystemExit, match="folder of an earlier run, got 'dicom"):
        main(["predict", str(exam / "dicom"), "--bundle", str(made / "bundle"),
              "--out", str(exam)])  # fmt: skip
    assert len(list((exam / "dicom").rglob("*.dcm"))) == 4


@pytest.mark.slow
def test_a_run_takes_the_place_of_one_with_maps_and_dicom_objects(made):
    pytest.importorskip("highdicom", reason="the extra dicom-sr isn't installed")
    run(made, "--explain", "--dicom-sr", "--dicom-sc", out="twice")
    run(made, out="twice")
    assert not (made / "twice/maps").exists() and not (made / "twice/dicom").exists()


@pytest.mark.slow
def test_a_run_whose_output_streams_are_closed_ends_as_any_other(made, tmp_path):
    command = [sys.executable, "-m", "mammo.predict", "predict", str(made / "in/patient 0/LCC.dcm"),
               "--bundle", str(made / "bundle"), "--out", str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and (tmp_path / "out/run.json").is_file()


@pytest.mark.slow
def test_a_read_only_folder_for_the_results_is_one_line(made, tmp_path):
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "mammo.predict", "predict", str(made / "in"), "--bundle",
               str(made / "bundle"), "--out", str(tmp_path / "out")]  # fmt: skip
    done = run_beside_read_only(
        tmp_path / "out", command, tmp_path, {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "lock" not in done.stderr
    assert re.match(
        rf"error: {tmp_path}/out/\S+: (Read-only file system: .*write to another one"
        r"|Permission denied: check the permissions)",
        last,
    ), done.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_an_unfamiliar_maker_and_size_are_flagged(made, tmp_path):
    (tmp_path / "in").mkdir()
    pixels = breast_pixels(rows=300, columns=200)
    tags = {"Manufacturer": "Nobody & Co", "StudyInstanceUID": "1.2.3"}
    (tmp_path / "in/a.dcm").write_bytes(dicom_bytes(pixels, **tags))
    main(["predict", str(tmp_path / "in"), "--bundle", str(made / "bundle"),
          "--out", str(tmp_path / "out")])  # fmt: skip
    flag = read_table(tmp_path / "out/predictions.csv")["unfamiliar"][0]
    assert "manufacturer 'Nobody & Co'" in flag and "300 rows" in flag and "200 columns" in flag


@pytest.mark.slow
def test_reports_and_pictures_are_written_for_each_study_and_image(made):
    pytest.importorskip("highdicom", reason="the extra dicom-sr isn't installed")
    run(made, "--dicom-sr", "--dicom-sc", out="dicom-out")
    reports = sorted((made / "dicom-out/dicom").glob("report-*.dcm"))
    assert len(reports) == 2 and len(list((made / "dicom-out/dicom").glob("map-*.dcm"))) == 8
    found = {f["name"]: f for f in read_report(reports[0])}
    assert {"left breast", "right breast", "both breasts"} <= set(found) and len(found) == 7
    patients = read_table(made / "dicom-out/patients.csv")
    assert found["both breasts"]["answer"] in set(patients["answer"])
    assert len(found["both breasts"]["sources"]) == 4


@pytest.mark.slow
def test_a_report_on_one_breast_says_nothing_of_both(made, tmp_path):
    pytest.importorskip("highdicom", reason="the extra dicom-sr isn't installed")
    main(["predict", str(made / "in/patient 0/LCC.dcm"), "--bundle", str(made / "bundle"),
          "--out", str(tmp_path), "--dicom-sr"])  # fmt: skip
    (report,) = (tmp_path / "dicom").iterdir()
    names = [found["name"] for found in read_report(report)]
    assert names[:2] == ["left breast", "patient, left breast alone"] and len(names) == 3


def test_dicom_objects_of_hashed_patients_are_refused(made, tmp_path):
    with pytest.raises(SystemExit, match="--identifiers: must be keep with --dicom-sr"):
        run(made, "--dicom-sr", "--identifiers", "hash", out="never")


@pytest.mark.slow
def test_maps_lie_beside_the_answers_on_a_page_that_says_which_they_are(made):
    main(["explain", str(made / "in"), "--bundle", str(made / "bundle"),
          "--out", str(made / "explained")])  # fmt: skip
    page = (made / "explained/maps/index.html").read_text()
    assert "Exact: the score of the ordinal head" in page and "patient 0/LCC.dcm" in page
    assert len(list((made / "explained/maps").glob("*.png"))) == 8


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "mammo.predict", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for word in ("predict", "explain", "evaluate", "export", "inspect"):
        assert word in done.stdout


def test_a_reader_that_has_seen_enough_is_no_fault(made):
    command = f"{sys.executable} -m mammo.predict inspect {made / 'in'} --bundle {made / 'bundle'}"
    done = subprocess.run(
        f"{command} --png {made / 'png'} | true", shell=True, capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert done.stderr == ""


def test_a_bundle_that_is_not_there_is_one_line(made, tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*model\.json: not found"):
        main(["predict", str(made / "in"), "--bundle", str(tmp_path), "--out", str(tmp_path / "o")])


def test_a_file_whose_name_is_not_utf8_is_named(tmp_path):
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.dcm"))
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"M\\xfcller\.dcm: its name isn't UTF-8; rename"):
        find_sources(file)


def test_a_place_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        find_sources(tmp_path / "gone")
