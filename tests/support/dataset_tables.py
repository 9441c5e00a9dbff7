"""Label tables of the data sets."""

from pathlib import Path
from typing import Any

from mammo.datasets.params import DatasetParams
from mammo.params import parse_params

COLUMNS = {
    "image": "image_path",
    "patient_id": "patient_id",
    "laterality": "laterality",
    "view": "view",
    "label": "density",
    "split": None,
}


HEADER = "image_path,patient_id,laterality,view,density"


def dataset(name: str, root: Path, table: Path, /, **changes: Any) -> DatasetParams:
    values = {
        "name": name,
        "root": str(root),
        "table": str(table),
        "corrections": "corrections.csv",
        "key_file": "public",
        "classes": "a_b_c_d",
        "columns": COLUMNS,
        "labels": {letter: letter for letter in "ABCD"},
    }
    return parse_params("dataset", values | changes, DatasetParams)


RSNA_HEADER = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,"
    "density,machine_id,difficult_negative_case"
)


MIAS_INFO = (
    "INFORMATION:",
    "",
    "This file lists the films in the MIAS database and provides",
    "appropriate details as follows:",
    "",
    "1st column: MIAS database reference number.",
    "",
    "2nd column: Character of background tissue:",
    "                F - Fatty",
    "                G - Fatty-glandular",
    "                D - Dense-glandular",
    "",
    "mdb001 G CIRC B 535 425 197",
    "mdb002 G CIRC B 522 280 69",
    "mdb003 D NORM ",
    "mdb004 D NORM ",
    "mdb005 F CIRC B 477 133 30",
    "mdb005 F CIRC B 500 168 26",
    "mdb006 F NORM ",
    "mdb059 F CIRC B",
    "mdb060 F NORM ",
    "mdb216 D CALC M *NOTE 3*",
)
