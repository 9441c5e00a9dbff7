"""Each dataset in miniature, in its published layout with its quirks."""

import zipfile
from pathlib import Path

import openpyxl
import pytest

from mammo.cohort.classes import CLASSES
from mammo.datasets import label_tables
from mammo.datasets.label_tables import read_label_table, read_sheet
from mammo.datasets.params import DatasetParams
from mammo.datasets.readers import read_dataset
from mammo.datasets.rows import ImageRow
from mammo.errors import UserError
from support.dataset_tables import COLUMNS, HEADER, MIAS_INFO, RSNA_HEADER, dataset
from support.mammogram_files import write_picture, write_text


def rows_by_path(params: DatasetParams) -> dict[str, ImageRow]:
    rows = read_dataset(params)
    by_path = {row.path: row for row in rows}
    assert len(by_path) == len(rows)
    return by_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_text(tmp_path / "images" / "a.dcm", "an image")
    return tmp_path / "images"


# ---- csv


def test_csv_reads_one_row_an_image(root, tmp_path):
    table = write_text(tmp_path / "labels.csv", HEADER, "a.dcm,P1,L,CC,A", "b.dcm,P2,right,mlo,d")
    assert read_dataset(dataset("csv", root, table)) == [
        ImageRow("a.dcm", "P1", "", "L", "CC", "A"),
        ImageRow("b.dcm", "P2", "", "R", "MLO", "D"),
    ]


def test_csv_with_crlf_bom_semicolons_and_quoted_line_breaks_just_works(root, tmp_path):
    table = write_text(
        tmp_path / "labels.csv",
        "image_path;patient_id;laterality;view;density;note",
        'a.dcm;007;L;CC;B;"two\r\nlines; one cell"',
        "",
        "b.dcm;0042;R;CC;C;",
        end="\r\n",
        encoding="utf-8-sig",
    )
    rows = read_dataset(dataset("csv", root, table))
    assert [row.patient_id for row in rows] == ["007", "0042"]
    assert [row.label for row in rows] == ["B", "C"]


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_what_nobody_sees_at_a_cells_ends_is_no_part_of_it(root, tmp_path, suffix):
    lines = [
        f"\ufeff{HEADER}\u200b",
        "\u202aa.dcm,P1,L,CC,A\u200b",
        "b.dcm,\u200eP1\u2060 ,R,CC,B",
    ]
    table = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        write_text(table, *lines)
    else:
        workbook = openpyxl.Workbook()
        for line in lines:
            workbook.active.append(line.split(","))
        workbook.save(table)
    assert read_dataset(dataset("csv", root, table)) == [
        ImageRow("a.dcm", "P1", "", "L", "CC", "A"),
        ImageRow("b.dcm", "P1", "", "R", "CC", "B"),
    ]


def test_csv_takes_a_pattern_of_columns_for_the_path(root, tmp_path):
    table = write_text(tmp_path / "t.csv", "patient,image_id,density", "P1,0012,A")
    columns = COLUMNS | {
        "image": "{patient}/{image_id}.dcm",
        "patient_id": "patient",
        "laterality": None,
        "view": None,
    }
    assert read_dataset(dataset("csv", root, table, columns=columns)) == [
        ImageRow("P1/0012.dcm", "P1", label="A")
    ]


def test_csv_numbers_are_labels_only_if_declared(root, tmp_path):
    table = write_text(tmp_path / "t.csv", HEADER, "a.dcm,P1,L,CC,1", "b.dcm,P2,L,CC,1.0")
    undeclared = read_dataset(dataset("csv", root, table))
    assert [row.reason for row in undeclared] == ["label_unmappable"] * 2
    # 1 is a number in YAML unless quoted; both are meant.
    declared = read_dataset(dataset("csv", root, table, labels={1: "A", "2": "B"}))
    assert [row.label for row in declared] == ["A", ""]


def test_csv_rows_that_cannot_be_used_say_why(root, tmp_path):
    table = write_text(
        tmp_path / "t.csv",
        HEADER + ",part",
        "a.dcm,P1,L,CC,,train",
        "b.dcm,P1,L,CC,E,train",
        ",P1,L,CC,A,train",
        "c.dcm,,L,CC,A,train",
        "d.dcm,P1,B,CC,A,train",
        "e.dcm,P1,L,CC,A,holdout",
        "../f.dcm,P1,L,CC,A,train",
        "/g.dcm,P1,L,CC,A,train",
        "h.dcm,P1,L,CC,A,Validation",
    )
    rows = read_dataset(dataset("csv", root, table, columns=COLUMNS | {"split": "part"}))
    assert [row.reason for row in rows] == [
        "label_missing",
        "label_unmappable",
        "path_missing",
        "patient_missing",
        "laterality_unknown",
        "split_unknown",
        "path_outside_root",
        "path_outside_root",
        "",
    ]
    assert all((row.label == "") == bool(row.reason) for row in rows)
    assert rows[-1].published_split == "val"


def test_windows_paths_name_the_same_files(root, tmp_path):
    table = write_text(tmp_path / "t.csv", HEADER, r".\P1\a.dcm,P1,L,CC,A")
    assert read_dataset(dataset("csv", root, table))[0].path == "P1/a.dcm"


def test_binary_classes_join_a_with_b_and_c_with_d(root, tmp_path):
    lines = [f"{letter}.dcm,P1,L,CC,{letter}" for letter in "ABCD"]
    table = write_text(tmp_path / "t.csv", HEADER, *lines)
    rows = read_dataset(dataset("csv", root, table, classes="ab_cd"))
    assert [row.label for row in rows] == ["AB", "AB", "CD", "CD"]
    assert CLASSES["ab_cd"] == ("AB", "CD")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["image_path,patient_id,laterality,view,birads", "a,P,L,CC,A"],
            r"must have 'density', .*; set dataset\.columns\.label in params\.yaml",
        ),
        ([HEADER], "holds no row below its header line"),
        ([], "the file is empty"),
        ([HEADER + ",density", "a,P,L,CC,A,B"], "has 'density' more than once"),
        ([HEADER, "a.dcm,P1,L,CC,A,one,more"], r"row 2 must have 5 cells .* got 7"),
        ([HEADER, 'a.dcm,"P1,L,CC,A'], "not a well-formed table"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(root, tmp_path, lines, message):
    table = write_text(tmp_path / "labels.csv", *lines)
    with pytest.raises(UserError, match=rf"labels\.csv: .*{message}"):
        read_dataset(dataset("csv", root, table))


@pytest.mark.parametrize(
    "lines",
    [
        [HEADER.replace(",", ";") + ";other (ML, LM, XCCL, XCCM, FB)", "a.dcm;P1;L;CC;A;x"],
        ["", "  ", HEADER.replace(",", ";"), "a.dcm;P1;L;CC;A"],
        [HEADER + ",report", "a.dcm,P1,L,CC,A," + 200_000 * "x"],
    ],
    ids=["commas in a name", "blank lines first", "a long cell"],
)
def test_a_table_is_read_by_the_columns_that_are_wanted(root, tmp_path, lines):
    table = write_text(tmp_path / "labels.csv", *lines)
    (row,) = read_dataset(dataset("csv", root, table))
    assert (row.path, row.patient_id, row.label) == ("a.dcm", "P1", "A")


def test_a_fault_of_a_table_is_told_with_its_line(root, tmp_path):
    table = write_text(tmp_path / "labels.csv", HEADER, "a.dcm,P1,L,CC,A", 'b.dcm,"P"1,L,CC,A')
    with pytest.raises(UserError, match=r"labels\.csv: not a well-formed table: line 3: "):
        read_dataset(dataset("csv", root, table))


def test_a_letter_of_another_alphabet_is_told_apart(root, tmp_path):
    table = write_text(tmp_path / "labels.csv", HEADER, "a.dcm,P1,L,CC,\u0410")  # Cyrillic A
    (row,) = read_dataset(dataset("csv", root, table))
    assert row.reason == "label_unmappable" and r"\u0410" in row.detail


def test_a_workbook_that_is_called_csv_is_told(root, tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(
        UserError, match=r"labels\.csv: is an Excel workbook .*\.xlsx, in params\.yaml too"
    ):
        read_dataset(dataset("csv", root, tmp_path / "labels.csv"))


def test_a_table_in_another_encoding_is_refused(root, tmp_path):
    table = write_text(tmp_path / "t.csv", HEADER, "a.dcm,Ä,L,CC,A", encoding="latin-1")
    with pytest.raises(UserError, match="must be UTF-8 text"):
        read_dataset(dataset("csv", root, table))


def test_a_missing_table_names_what_is_there(root, tmp_path):
    write_text(tmp_path / "labels.tsv", HEADER)
    with pytest.raises(UserError, match=r"labels\.csv: no such file .*labels\.tsv"):
        read_dataset(dataset("csv", root, tmp_path / "labels.csv"))


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    table = write_text(tmp_path / "labels.csv", HEADER, "a.dcm,P1,L,CC,A")
    with pytest.raises(UserError, match=r"images: no such folder .*labels\.csv"):
        read_dataset(dataset("csv", tmp_path / "images", table))
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="images: the folder is empty"):
        read_dataset(dataset("csv", tmp_path / "images", table))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "ddsm"}, "dataset.name"),
        ({"labels": {"1": "E"}}, "dataset.labels: must map to A, B, C, D"),
        ({"labels": {}}, "dataset.labels: must map distinct tokens"),
        ({"labels": {"a": "A", "A": "B"}}, "dataset.labels: must map distinct tokens"),
        ({"classes": "fatty_glandular_dense", "name": "rsna"}, "dataset.classes: must not be"),
        ({"classes": "a_b_c_d", "name": "mini_mias"}, "dataset.classes: must be"),
        ({"columns": COLUMNS | {"side": "x"}}, "dataset.columns.side: unknown key"),
    ],
)
def test_params_that_make_no_sense_are_refused(root, changes, message):
    with pytest.raises(UserError, match=message):
        dataset("csv", root, root, **changes)


# ---- irma


def test_irma_labels_every_image_of_an_accession(tmp_path):
    root = tmp_path / "irma"
    for path in ("0012/L/1.dcm", "0012/2.dcm", "12/1.dcm", "0500/1.dcm"):
        write_text(root / path, "an image")
    table = write_text(
        tmp_path / "classificacao.csv",
        "AccessionNumber,Classification,ClassificationDate",
        "0012,2,2024-01-05 10:00:00",
        "12,4,2024-01-05 10:00:00",
        "0500,5,2024-01-05 10:00:00",
        "0777,1,2024-01-05 10:00:00",
        encoding="utf-8-sig",
        end="\r\n",
    )
    rows = rows_by_path(dataset("irma", root, table))
    assert {path: row.label for path, row in rows.items()} == {
        "0012/L/1.dcm": "B",
        "0012/2.dcm": "B",
        "12/1.dcm": "D",
        "0500/1.dcm": "",
        "0777": "",
    }
    assert rows["0012/2.dcm"].accession_number == "0012"
    assert rows["0500/1.dcm"].reason == "class_5"
    assert rows["0777"].reason == "file_missing"


@pytest.mark.parametrize(("label", "outcome"), [("2.0", "B"), ("5.0", "class_5"), ("2.5", "")])
def test_irma_classes_may_be_written_as_floats(tmp_path, label, outcome):
    write_text(tmp_path / "irma" / "0012" / "1.dcm", "an image")
    table = write_text(tmp_path / "t.csv", "AccessionNumber,Classification", f"0012,{label}")
    (row,) = read_dataset(dataset("irma", tmp_path / "irma", table))
    assert (row.label or row.reason) == (outcome or "label_unmappable")


# ---- rsna


def test_rsna_goes_without_the_rows_that_have_no_density(root, tmp_path):
    table = write_text(
        tmp_path / "train.csv",
        RSNA_HEADER,
        "2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False",
        "1,10130,388811999,L,MLO,71.0,0,0,0,0.0,0,B,49,True",
        "1,10130,613462606,R,AT,71.0,0,0,0,,0,C,49,False",
    )
    rows = rows_by_path(dataset("rsna", root, table))
    assert rows["10006/462822612.dcm"].reason == "label_missing"
    assert rows["10130/388811999.dcm"] == ImageRow(
        "10130/388811999.dcm", "10130", laterality="L", view="MLO", label="B"
    )
    assert rows["10130/613462606.dcm"].view == "AT"


@pytest.mark.parametrize("cell", ["NA", "NaN", "nan"])
def test_what_r_and_pandas_write_for_a_blank_label_is_none(root, tmp_path, cell):
    line = f"2,10006,462822612,L,CC,61.0,0,0,0,,0,{cell},29,False"
    table = write_text(tmp_path / "train.csv", RSNA_HEADER, line)
    (row,) = read_dataset(dataset("rsna", root, table))
    assert row.reason == "label_missing" and repr(cell) in row.detail


# ---- vindr


def test_vindr_labels_each_breast_and_keeps_the_published_split(root, tmp_path):
    table = write_text(
        tmp_path / "breast-level_annotations.csv",
        "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,"
        "breast_density,split",
        "48575a,dd9ce3,01958718,L,CC,3518,2800,BI-RADS 4,DENSITY C,training",
        "48575a,dd9ce3,bd3e55c0,R,CC,3518,2800,BI-RADS 1,DENSITY B,training",
        "c3c47c,1ab230,7cfb0b4b,L,MLO,3518,2800,BI-RADS 1,DENSITY E,test",
    )
    rows = rows_by_path(dataset("vindr", root, table))
    left, right = rows["48575a/01958718.dicom"], rows["48575a/bd3e55c0.dicom"]
    assert (left.label, right.label) == ("C", "B")
    assert left.patient_id == right.patient_id == "48575a"
    assert left.published_split == "train"
    assert rows["c3c47c/7cfb0b4b.dicom"].reason == "label_unmappable"


# ---- cbis_ddsm

CBIS_TAIL = (
    "assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path"
)
CALC_HEADER = (
    "patient_id,breast density,left or right breast,image view,abnormality id,abnormality type,"
    f"calc type,calc distribution,{CBIS_TAIL}"
)
MASS_HEADER = (
    "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,"
    f"mass shape,mass margins,{CBIS_TAIL}"
)


def cbis_row(case: str, density: str, abnormality: int = 1) -> str:
    kind, patient, side, view = case.replace("P_", "P-").split("_")
    paths = [f"{name}/1.3.6.1.study/1.3.6.1.series-{name}/00000{n}.dcm" for n, name in
             enumerate([case, f"{case}_{abnormality}", f"{case}_{abnormality}"])]  # fmt: skip
    return (
        f"{patient.replace('-', '_')},{density},{side},{view},{abnormality},{kind[:4].lower()},"
        f'X,Y,4,BENIGN,3,{paths[0]},{paths[1]},"{paths[2]}\n"'
    )


@pytest.fixture
def cbis(tmp_path: Path) -> Path:
    """Four tables and the files of a download with descriptive folder names."""
    for case in (
        "Calc-Training_P_00005_RIGHT_CC",
        "Calc-Test_P_00038_LEFT_CC",
        "Mass-Training_P_00038_LEFT_MLO",
        "Mass-Test_P_00016_LEFT_CC",
    ):
        folder = tmp_path / "CBIS-DDSM" / case / "08-29-2017-DDSM-NA-96009"
        write_text(folder / "1.000000-full mammogram images-63992" / "1-1.dcm", "an image")
    mask = tmp_path / "CBIS-DDSM" / "Mass-Test_P_00016_LEFT_CC_1" / "10-04-2016-DDSM-NA-09887"
    write_text(mask / "1.000000-ROI mask images-52953" / "1-1.dcm", "a mask")
    tables = tmp_path / "tables"
    write_text(
        tables / "calc_case_description_train_set.csv",
        CALC_HEADER,
        cbis_row("Calc-Training_P_00005_RIGHT_CC", "3", 1),
        cbis_row("Calc-Training_P_00005_RIGHT_CC", "3", 2),
    )
    write_text(
        tables / "calc_case_description_test_set.csv",
        CALC_HEADER,
        cbis_row("Calc-Test_P_00038_LEFT_CC", "2"),
    )
    write_text(
        tables / "mass_case_description_train_set.csv",
        MASS_HEADER,
        cbis_row("Mass-Training_P_00038_LEFT_MLO", "2"),
    )
    write_text(
        tables / "mass_case_description_test_set.csv",
        MASS_HEADER,
        cbis_row("Mass-Test_P_00016_LEFT_CC", "0"),
    )
    return tmp_path


def test_cbis_merges_four_tables_whose_density_columns_differ(cbis):
    rows = read_dataset(dataset("cbis_ddsm", cbis / "CBIS-DDSM", cbis / "tables"))
    assert len(rows) == 5
    assert rows[0] == rows[1]  # two abnormalities of one image
    assert rows[0].path == (
        "Calc-Training_P_00005_RIGHT_CC/08-29-2017-DDSM-NA-96009/"
        "1.000000-full mammogram images-63992/1-1.dcm"
    )
    assert (rows[0].label, rows[0].laterality, rows[0].view) == ("C", "R", "CC")
    assert rows[4].reason == "label_unmappable"  # density 0


def test_cbis_patients_in_both_published_splits_go_to_train(cbis):
    rows = read_dataset(dataset("cbis_ddsm", cbis / "CBIS-DDSM", cbis / "tables"))
    splits = {(row.patient_id, row.published_split, row.flag) for row in rows}
    assert splits == {
        ("P_00005", "train", ""),
        ("P_00038", "train", "published_split_moved"),
        ("P_00016", "test", ""),
    }


def test_cbis_files_are_found_by_series_too(cbis):
    case = "Calc-Training_P_00005_RIGHT_CC"
    root = cbis / "by series"
    write_text(root / f"1.3.6.1.series-{case}" / "1-1.dcm", "an image")
    rows = read_dataset(dataset("cbis_ddsm", root, cbis / "tables"))
    assert rows[0].path == f"1.3.6.1.series-{case}/1-1.dcm"
    assert rows[2].reason == "file_missing"


@pytest.mark.parametrize("form", ["{case}.png", "{series}.png", "{case}/{case}.png"])
def test_cbis_files_may_be_named_by_case_or_series(cbis, form):
    case = "Calc-Training_P_00005_RIGHT_CC"
    name = form.format(case=case, series=f"1.3.6.1.series-{case}")
    for path in (name, f"crops/{case}_1.png"):
        write_text(cbis / "pictures" / path, "an image")
    rows = read_dataset(dataset("cbis_ddsm", cbis / "pictures", cbis / "tables"))
    assert (rows[0].path, rows[0].reason) == (name, "")


def test_cbis_takes_the_dicom_file_that_lies_beside_its_copy(cbis):
    root = cbis / "CBIS-DDSM"
    for file in list(root.rglob("1-1.dcm")):
        write_text(file.with_suffix(".png"), "a copy")
    rows = read_dataset(dataset("cbis_ddsm", root, cbis / "tables"))
    assert (rows[0].path[-7:], rows[0].reason) == ("1-1.dcm", "")
    write_text(next(root.rglob("1-1.dcm")).with_name("1-2.dcm"), "another image")
    rows = read_dataset(dataset("cbis_ddsm", root, cbis / "tables"))
    assert "file_ambiguous" in {row.reason for row in rows}


def test_cbis_densities_may_be_written_as_floats(cbis):
    for table in (cbis / "tables").iterdir():
        text = table.read_text()
        for density in "0234":
            text = text.replace(f",{density},RIGHT,", f",{density}.0,RIGHT,")
            text = text.replace(f",{density},LEFT,", f",{density}.0,LEFT,")
        table.write_text(text)
    rows = read_dataset(dataset("cbis_ddsm", cbis / "CBIS-DDSM", cbis / "tables"))
    assert [row.label for row in rows] == ["C", "C", "B", "B", ""]


def test_cbis_warns_of_tables_that_are_not_there(cbis, caplog):
    (cbis / "tables" / "calc_case_description_test_set.csv").unlink()
    read_dataset(dataset("cbis_ddsm", cbis / "CBIS-DDSM", cbis / "tables"))
    assert "goes without calc_case_description_test_set.csv" in caplog.text


def test_cbis_without_any_table_is_refused(cbis):
    with pytest.raises(UserError, match="must hold calc_case_description_train_set"):
        read_dataset(dataset("cbis_ddsm", cbis / "CBIS-DDSM", cbis / "CBIS-DDSM"))


# ---- inbreast


def test_inbreast_takes_the_patient_from_the_file_name(tmp_path):
    root = tmp_path / "AllDICOMs"
    for name in (
        "22678622_61b13c59bcba149e_MG_R_CC_ANON.dcm",
        "22678646_61b13c59bcba149e_MG_L_CC_ANON.dcm",
        "20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm",
        "20586986_6c613a14b80a8591_MG_L_ML_ANON.dcm",
    ):
        write_text(root / name, "an image")
    table = write_text(
        tmp_path / "INbreast.csv",
        "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads",
        "removed;removed;R;CC;201001;22678622;4;1",
        "removed;removed;L;CC;201001;22678646;     ;2",
        "removed;removed;R;CC;200802;20586908;1;4a",
        "removed;removed;R;MLO;200802;20586934;1;4a",
        "removed;removed;L;MLO;200802;20586986;1;1",
    )
    rows = rows_by_path(dataset("inbreast", root, table))
    first = rows["22678622_61b13c59bcba149e_MG_R_CC_ANON.dcm"]
    assert (first.patient_id, first.label, first.laterality) == ("61b13c59bcba149e", "D", "R")
    assert rows["22678646_61b13c59bcba149e_MG_L_CC_ANON.dcm"].reason == "label_missing"
    assert rows["20586934_*.dcm"].reason == "file_missing"
    assert rows["20586986_6c613a14b80a8591_MG_L_ML_ANON.dcm"].view == "MLO"


INBREAST = "22678622_61b13c59bcba149e_MG_R_CC_ANON"


@pytest.mark.parametrize("copy", [f"AllPNGs/{INBREAST}.png", f"AllDICOMs/{INBREAST}.jpg"])
def test_inbreast_takes_the_dicom_file_that_lies_beside_its_copy(tmp_path, copy):
    for name in (f"AllDICOMs/{INBREAST}.dcm", copy):
        write_text(tmp_path / "INbreast" / name, "an image")
    lines = ("Laterality;View;File Name;ACR", "R;CC;22678622;4.0")
    table = write_text(tmp_path / "INbreast.csv", *lines)
    (row,) = read_dataset(dataset("inbreast", tmp_path / "INbreast", table))
    assert row.path == f"AllDICOMs/{INBREAST}.dcm"
    assert (row.label, row.patient_id) == ("D", "61b13c59bcba149e")


def test_inbreast_lines_below_the_table_name_no_file(tmp_path):
    root = tmp_path / "INbreast"
    for name in (f"{INBREAST}.dcm", "_notes_2010.png"):
        write_text(root / name, "an image")
    lines = ("Laterality;View;File Name;ACR;Bi-Rads", "R;CC;22678622;4;1", ";;;2;total")
    rows = read_dataset(dataset("inbreast", root, write_text(tmp_path / "t.csv", *lines)))
    assert [row.reason for row in rows] == ["", "path_missing"]


# ---- embed

EMBED_METADATA = (
    ",anon_dicom_path,empi_anon,acc_anon,study_date_anon,FinalImageType,ImageLateralityFinal,"
    "ViewPosition,spot_mag,Manufacturer"
)


def embed_image(accession: str, side: str, uid: int, kind: str = "2D", spot: str = "") -> str:
    path = f"/mnt/NAS2/mammo/anon_dicom/cohort_1/10000879/1.2.{accession}/1.2.84/1.2.826.{uid}.dcm"
    return f"{uid},{path},10000879,{accession},2013-05-01,{kind},{side},CC,{spot},Maker"


def test_embed_joins_on_accession_and_side(root, tmp_path):
    tables = tmp_path / "tables"
    write_text(
        tables / "EMBED_OpenData_clinical.csv",
        ",empi_anon,acc_anon,study_date_anon,desc,side,asses,tissueden,numfind",
        "0,10000879,501,2013-05-01,MG Screen Bilateral,L,N,2.0,1",
        "1,10000879,501,2013-05-01,MG Screen Bilateral,R,A,3.0,1",
        "2,10000879,501,2013-05-01,MG Screen Bilateral,R,A,3.0,2",
        "3,10000879,502,2014-05-01,MG Screen Bilateral,,N,4,1",
        "4,10000879,503,2015-05-01,MG Diagnostic,B,N,5.0,1",
        "5,10000879,504,2016-05-01,MG Diagnostic,L,A,2.0,1",
        "6,10000879,504,2016-05-01,MG Diagnostic,L,A,3.0,2",
        "7,10000879,505,2017-05-01,MG Diagnostic,L,A,,1",
    )
    write_text(
        tables / "EMBED_OpenData_metadata.csv",
        EMBED_METADATA,
        embed_image("501", "L", 1),
        embed_image("501", "R", 2),
        embed_image("502", "L", 3),
        embed_image("503", "R", 4),
        embed_image("504", "R", 5),
        embed_image("505", "L", 6),
        embed_image("501", "L", 7, kind="cview"),
        embed_image("501", "L", 8, spot="1.0"),
        embed_image("504", "L", 9),
    )
    rows = read_dataset(dataset("embed", root, tables))
    by_uid: dict[str, list[ImageRow]] = {}
    for row in rows:
        by_uid.setdefault(row.path[-5], []).append(row)
    found = {uid: [row.label or row.reason for row in same] for uid, same in by_uid.items()}
    assert found == {
        "1": ["B"],
        "2": ["C"],  # two findings, one density
        "3": ["D"],  # a side left blank holds for both
        "4": ["male"],
        "5": ["label_missing"],  # nothing is said of this side
        "6": ["label_missing"],
        "7": ["synthetic_2d"],
        "8": ["spot_view"],
        "9": ["B", "C"],  # ingest rejects contradictions
    }
    assert rows[0].path == "cohort_1/10000879/1.2.501/1.2.84/1.2.826.1.dcm"
    assert rows[0].patient_id == "10000879"


def embed_rows(root: Path, tables: Path, images: list[str], findings: list[str]) -> list[ImageRow]:
    write_text(tables / "EMBED_OpenData_metadata.csv", EMBED_METADATA, *images)
    write_text(tables / "EMBED_OpenData_clinical.csv", "acc_anon,side,tissueden", *findings)
    return read_dataset(dataset("embed", root, tables))


def test_embed_findings_that_say_nothing_contradict_none(root, tmp_path):
    findings = ["501,L,2.0", "501,L,", "501,L,NA"]
    rows = embed_rows(root, tmp_path / "tables", [embed_image("501", "L", 1)], findings)
    assert [row.label for row in rows] == ["B"]


def test_embed_blank_cells_may_be_written_out(root, tmp_path):
    images = [embed_image("501", side, n, spot="NA") for n, side in enumerate("LR")]
    rows = embed_rows(root, tmp_path / "tables", images, ["501,NA,2"])
    assert [row.label for row in rows] == ["B", "B"]


@pytest.mark.parametrize("side", ["R", "r", "Right", "X"])
def test_embed_findings_of_one_side_say_nothing_of_the_other(root, tmp_path, side):
    images = [embed_image("501", "L", 1)]
    (row,) = embed_rows(root, tmp_path / "tables", images, [f"501,{side},2"])
    assert row.reason == "label_missing"
    assert "no finding of accession 501 tells the density of side L" in row.detail


def test_embed_accessions_that_a_spreadsheet_rounded_are_refused(root, tmp_path):
    images = [embed_image("9.28849E+15", "L", 1)]
    with pytest.raises(UserError, match=r"metadata\.csv: acc_anon '9\.28849E\+15' .* rounded"):
        embed_rows(root, tmp_path / "tables", images, ["501,L,2"])
    with pytest.raises(UserError, match=r"clinical\.csv: acc_anon '9,28849E\+15' .* rounded"):
        embed_rows(root, tmp_path / "tables", [embed_image("501", "L", 1)], ['"9,28849E+15",L,2'])


def test_embed_without_its_tables_is_refused(root, tmp_path):
    with pytest.raises(UserError, match="must hold EMBED_OpenData_clinical"):
        read_dataset(dataset("embed", root, tmp_path))


# ---- cdd_cesm


def write_workbook(path: Path, sheet: str, rows: list[list[str]]) -> Path:
    """Write a workbook whose numbers are numbers, with the sheet second."""
    workbook = openpyxl.Workbook()
    workbook.active.title = "mass_description"
    page = workbook.create_sheet(sheet)
    for row in rows:
        plain = [text.isdigit() and str(int(text)) == text for text in row]
        page.append([int(text) if n else text for text, n in zip(row, plain, strict=True)])
    workbook.save(path)
    return path


CDD_HEADER = [
    "Image_name",
    "Patient_ID",
    "Side",
    "Type",
    "Age",
    "Breast density (ACR)",
    "BIRADS",
    "Findings",
    "View",
    "Tags",
    "Machine",
    "Pathology Classification/ Follow up",
]


def cdd_row(name: str, density: str) -> list[str]:
    patient, side, kind, view = name.strip().split("_")
    energy = {"DM": "DM", "CM": "CESM"}[kind]
    return [
        name,
        patient[1:],
        side,
        energy,
        "55",
        density,
        "5",
        "Mass & more",
        view.strip(),
        "",
        "1",
    ]


@pytest.fixture
def cdd(tmp_path: Path) -> Path:
    low = tmp_path / "CDD-CESM" / "Low energy images of CDD-CESM"
    for name in ("P1_L_DM_MLO.jpg", "P2_R_DM_CC .jpg"):
        write_picture(low / name)
    write_picture(tmp_path / "CDD-CESM" / "Subtracted images of CDD-CESM" / "P1_L_CM_MLO.jpg")
    write_workbook(
        tmp_path / "Radiology-manual-annotations.xlsx",
        "all",
        [
            CDD_HEADER,
            cdd_row("P1_L_DM_MLO ", "C"),
            cdd_row("P1_L_CM_MLO", "C"),
            cdd_row(" P2_R_DM_CC", ""),
        ],
    )
    return tmp_path


def test_cdd_cesm_takes_the_low_energy_images(cdd):
    table = cdd / "Radiology-manual-annotations.xlsx"
    rows = rows_by_path(dataset("cdd_cesm", cdd / "CDD-CESM", table))
    assert rows["Low energy images of CDD-CESM/P1_L_DM_MLO.jpg"] == ImageRow(
        "Low energy images of CDD-CESM/P1_L_DM_MLO.jpg", "1", "", "L", "MLO", "C"
    )
    assert rows["Subtracted images of CDD-CESM/P1_L_CM_MLO.jpg"].reason == "not_low_energy"
    assert rows["Low energy images of CDD-CESM/P2_R_DM_CC .jpg"].reason == "label_missing"


def test_cdd_cesm_reads_the_sheet_saved_as_csv(cdd):
    lines = [",".join(row) for row in (CDD_HEADER, cdd_row("P1_L_DM_MLO ", "C"))]
    table = write_text(cdd / "Radiology-manual-annotations.csv", *lines)
    (row,) = read_dataset(dataset("cdd_cesm", cdd / "CDD-CESM", table))
    assert (row.path[-15:], row.label) == ("P1_L_DM_MLO.jpg", "C")


def test_cdd_cesm_takes_the_published_file_that_lies_beside_its_mask(cdd):
    write_picture(cdd / "CDD-CESM" / "masks" / "P1_L_DM_MLO.png")
    table = cdd / "Radiology-manual-annotations.xlsx"
    rows = rows_by_path(dataset("cdd_cesm", cdd / "CDD-CESM", table))
    assert rows["Low energy images of CDD-CESM/P1_L_DM_MLO.jpg"].label == "C"


@pytest.mark.parametrize(
    ("sheet", "rows", "message"),
    [
        ("All", [CDD_HEADER, cdd_row("P1_L_DM_CC", "A")], "must have a sheet 'all'"),
        ("all", [CDD_HEADER], "holds no row"),
        ("all", [CDD_HEADER[:5], ["P1_L_DM_CC"]], "must have 'View', 'Breast density"),
    ],
)
def test_a_workbook_of_another_layout_is_refused(cdd, sheet, rows, message):
    table = write_workbook(cdd / "other.xlsx", sheet, rows)
    with pytest.raises(UserError, match=rf"other\.xlsx: .*{message}"):
        read_dataset(dataset("cdd_cesm", cdd / "CDD-CESM", table))


def test_a_sheet_serves_any_dataset_as_text(tmp_path):
    rows = [["name", "id"], ["a", "007"], ["b", "7"], ["c", "1e5"], ["NA", "12345678901"], ["", ""]]
    table = write_workbook(tmp_path / "labels.xlsx", "second", rows)
    cells = read_sheet(table, "second", ["name", "id"])
    assert [row["id"] for row in cells] == ["007", "7", "1e5", "12345678901"]
    assert cells[3]["name"] == "NA"


def test_a_workbook_that_inflates_beyond_the_bound_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(label_tables, "MAX_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("xl/worksheets/sheet1.xml", bytes(2**21))
    assert (tmp_path / "bomb.xlsx").stat().st_size < 5000
    with pytest.raises(UserError, match=r"bomb\.xlsx: inflates beyond"):
        read_sheet(tmp_path / "bomb.xlsx", None, ["a"])


def test_a_table_of_too_many_rows_or_bytes_is_refused(tmp_path, monkeypatch):
    table = write_text(tmp_path / "labels.csv", "a", "1", "2", "3")
    monkeypatch.setattr(label_tables, "MAX_ROWS", 2)
    with pytest.raises(UserError, match="at most 2 rows"):
        read_label_table(table, ["a"])
    monkeypatch.setattr(label_tables, "MAX_BYTES", 5)
    with pytest.raises(UserError, match="at most 5"):
        read_label_table(table, ["a"])


def test_a_table_that_is_no_workbook_is_refused(cdd):
    table = write_text(cdd / "table.xlsx", "a,b")
    with pytest.raises(UserError, match="must be an Excel workbook"):
        read_dataset(dataset("cdd_cesm", cdd / "CDD-CESM", table))


# ---- mini_mias


def test_mini_mias_pairs_films_and_has_classes_of_its_own(root, tmp_path):
    table = write_text(tmp_path / "Info.txt", *MIAS_INFO, end="\r\n")
    params = dataset("mini_mias", root, table, classes="fatty_glandular_dense")
    rows = rows_by_path(params)
    assert len(rows) == 9
    assert rows["mdb005.pgm"] == ImageRow("mdb005.pgm", "mdb005-mdb006", "", "R", "MLO", "F")
    assert rows["mdb006.pgm"].patient_id == "mdb005-mdb006"
    assert rows["mdb006.pgm"].laterality == "L"  # even numbers are left breasts
    assert [rows[f"mdb{n:03d}.pgm"].label for n in (1, 3, 216)] == ["G", "D", "D"]


@pytest.mark.parametrize(
    "lines",
    [
        ["\ufeffmdb001 G CIRC B 535 425 197", "mdb002 D NORM"],
        ["REFNUM,BG,CLASS", "mdb001,G,CIRC", "mdb002,D,NORM"],
        ["REFNUM;BG;CLASS", '"mdb001";"G";"CIRC"', '"mdb002";"D";"NORM"'],
        [",REFNUM,BG", "0,mdb001,G", "1,mdb002,D"],
        ["  mdb001\tG\tCIRC", "  mdb002\tD\tNORM"],
    ],
    ids=["byte order mark", "commas", "quotes", "row numbers", "indented"],
)
def test_mini_mias_films_are_read_from_a_saved_table(root, tmp_path, lines):
    table = write_text(tmp_path / "Info.csv", *lines)
    rows = rows_by_path(dataset("mini_mias", root, table, classes="fatty_glandular_dense"))
    assert {path: row.label for path, row in rows.items()} == {"mdb001.pgm": "G", "mdb002.pgm": "D"}


def test_mini_mias_without_film_lines_is_refused(root, tmp_path):
    table = write_text(tmp_path / "Info.txt", "INFORMATION:")
    params = dataset("mini_mias", root, table, classes="fatty_glandular_dense")
    with pytest.raises(UserError, match="must have lines such as 'mdb001 G"):
        read_dataset(params)


# ---- the forms that published data are passed on in


@pytest.mark.parametrize(
    "name",
    ["10/11.dcm", "10/11.dicom", "10/11.png", "10/11.JPG", "10/11.tif", "10_11.png", "10_11.jpeg"],
)
def test_rsna_is_found_in_the_form_people_have_it(tmp_path, name):
    root = tmp_path / "images"
    write_text(root / name, "x")
    write_text(root / "10/12.png", "x")
    table = write_text(tmp_path / "train.csv", RSNA_HEADER, "1,10,11,L,CC,50,0,0,0,0,0,B,49,False")
    rows = read_dataset(dataset("rsna", root, table))
    assert [row.path for row in rows] == [name] and rows[0].reason == ""


def test_the_published_name_goes_first_and_two_others_are_ambiguous(tmp_path):
    root = tmp_path / "images"
    for name in ("10/11.png", "10_11.jpg"):
        write_text(root / name, "x")
    table = write_text(tmp_path / "train.csv", RSNA_HEADER, "1,10,11,L,CC,50,0,0,0,0,0,B,49,False")
    (row,) = read_dataset(dataset("rsna", root, table))
    assert row.reason == "file_ambiguous" and "10_11.jpg" in row.detail
    write_text(root / "10/11.dcm", "x")
    (row,) = read_dataset(dataset("rsna", root, table))
    assert (row.path, row.reason) == ("10/11.dcm", "")
