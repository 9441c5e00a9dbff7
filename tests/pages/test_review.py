"""The review page: what it holds, and what clicks and keys do, in a browser without a network."""

import io
import re

import numpy as np
import pandas as pd
import pytest

from mammo.pages.params import ReviewParams
from mammo.pages.review import Reviewed, choose, encode_map, suggestions, write_review
from mammo.storage.cells import restored
from mammo.storage.files import read_table
from support.browser import drive
from support.made_up import predictions

CLASSES = ["A", "B", "C", "D"]
PARAMS = ReviewParams(max_images=500, picture_px=64)


def rows_of(n_patients=12):
    table = predictions("probe", skill=2.0, n_patients=n_patients)
    cross_fitted = {f"cross_fitted_{c}": table[f"probability_{c}"] for c in CLASSES}
    return table.rename(columns={"prediction": "answer"}).assign(
        maker=["North" if n % 2 else "<b>South</b>" for n in range(len(table))],
        set="{B, C}",
        source="the deployed network",
        unfamiliar=["far from train" if n == 5 else "" for n in range(len(table))],
        suggested=["A" if n in (3, 7) else "" for n in range(len(table))],
        quality=[0.2 if n == 7 else 0.4 if n == 3 else 0.9 for n in range(len(table))],
        **cross_fitted,
    )


def reviewed(rows, **changes):
    n = len(rows)
    return Reviewed(
        **{
            "strategy": "probe",
            "classes": CLASSES,
            "rows": rows,
            "pictures": np.arange(n * 64, dtype=np.uint16).reshape(n, 8, 8) * 9,
            "maps": np.linspace(-1, 1, n * 4).reshape(n, 2, 2),
            "map_note": "what the map shows",
            "corrections": pd.DataFrame(columns=["key", "old", "new", "who", "when"]),
            **changes,
        }
    )


@pytest.fixture
def page(tmp_path):
    def write(**changes):
        rows = rows_of()
        write_review(reviewed(rows, **changes), len(rows) + 3, PARAMS, tmp_path)
        return rows, tmp_path / "index.html"

    return write


def test_the_page_needs_no_other_file(page):
    _, path = page()
    assert not re.search(r'(?:src|href)="(?!data:)', path.read_text(encoding="utf-8"))
    assert "http:" not in re.sub(r"[A-Za-z0-9+/=]{40,}", "", path.read_text(encoding="utf-8"))


def test_the_doubtful_labels_are_listed_most_doubtful_first():
    rows = rows_of()
    table = suggestions(rows, CLASSES, {})
    assert list(table["key"]) == [rows["key"][7], rows["key"][3]]
    assert list(table.columns[:5]) == ["key", "old", "new", "who", "when"]
    assert set(table["new"]) == {""}  # the reader decides
    assert table["probability_suggested"].iloc[0] == rows["cross_fitted_A"][7]


def test_a_label_that_was_corrected_before_is_corrected_from_the_tables(tmp_path):
    rows = rows_of()
    made = pd.DataFrame([[rows["key"][7], "D", rows["label"][7], "N", "2026"]])
    made.columns = ["key", "old", "new", "who", "when"]
    write_review(reviewed(rows, corrections=made), len(rows), PARAMS, tmp_path)
    written = read_table(tmp_path / "labels.csv")
    assert list(written["old"]) == ["D", rows["label"][3]]
    assert list(written["label"]) == [rows["label"][7], rows["label"][3]]


def test_no_cell_of_the_labels_to_check_is_a_formula_and_all_come_back(tmp_path):
    rows = rows_of()
    rows["key"] = [f"{'=+-@'[n % 4]}{key}" for n, key in enumerate(rows["key"])]
    write_review(reviewed(rows), len(rows), PARAMS, tmp_path)
    written = read_table(tmp_path / "labels.csv")
    doubted = [rows["key"][7], rows["key"][3]]
    assert list(written["key"]) == [f"'{key}" for key in doubted]
    assert list(restored(written)["key"]) == doubted
    assert list(written["old"]) == [rows["label"][7], rows["label"][3]]


def test_a_full_page_keeps_doubtful_labels_and_whole_patients_first():
    rows = rows_of()
    chosen = choose(rows, 4)
    assert set(chosen["patient"]) == {rows["patient"][3]}
    assert len(choose(rows, 10**6)) == len(rows)
    without_doubts = rows.assign(suggested="")
    assert set(choose(without_doubts, 8)["split"]) == {"test"}


def test_a_map_keeps_signs_and_its_strongest_position():
    import base64

    coded = np.frombuffer(base64.b64decode(encode_map(np.array([[-2.0, 0], [0, 1]]))), np.int8)
    grid = coded.reshape(28, 28)
    assert grid[0, 0] == -127 and grid[-1, -1] in (63, 64)
    assert not np.frombuffer(base64.b64decode(encode_map(np.zeros((2, 2)))), np.int8).any()


@pytest.mark.slow
@pytest.mark.chromium
def test_counts_in_the_matrix_are_those_of_the_images(page, chromium):
    rows, path = page()
    cells = drive(
        chromium, path,
        "pick('#split', ''); return all('#confusion td button').map(b => +b.textContent)",
    )  # fmt: skip
    expected = pd.crosstab(rows["label"], rows["answer"]).reindex(
        index=CLASSES, columns=CLASSES, fill_value=0
    )
    assert cells == expected.to_numpy().ravel().tolist()


@pytest.mark.chromium
def test_the_test_split_is_shown_first_and_a_cell_shows_its_images(page, chromium):
    rows, path = page()
    test = rows[rows["split"] == "test"]
    truth, answer = test["label"].iloc[0], test["answer"].iloc[0]
    count = int(((test["label"] == truth) & (test["answer"] == answer)).sum())
    result = drive(
        chromium, path,
        f"""const before = all('#grid button').length;
        $('[data-cell="{truth}>{answer}"]').click();
        const within = all('#grid span').map(s => s.textContent);
        const text = $('#count').textContent;
        $('[data-cell="{truth}>{answer}"]').click();
        return [before, within, text, all('#grid button').length]""",
    )  # fmt: skip
    assert result[0] == result[3] == len(test)
    assert result[1] == [f"{truth} → {answer}"] * count
    assert result[2].startswith(f"{count} image")


@pytest.mark.chromium
def test_filters_narrow_what_is_shown_and_reset_undoes_them(page, chromium):
    rows, path = page()
    result = drive(
        chromium, path,
        """const n = () => all('#grid button').length, counts = [];
        pick('#split', ''); counts.push(n());
        pick('#split', 'val'); counts.push(n());
        pick('#maker', '<b>South</b>'); counts.push(n());
        pick('#maker', ''); pick('#correct', 'no'); counts.push(n());
        pick('#correct', ''); pick('#split', ''); pick('#label', 'C'); counts.push(n());
        pick('#label', ''); $('#unfamiliar').click(); counts.push(n());
        $('#unfamiliar').click(); $('#doubtful').click();
        counts.push(all('#grid button').length, $('#facts').textContent);
        $('#reset').click(); counts.push(n());
        return counts""",
    )  # fmt: skip
    val = rows[rows["split"] == "val"]
    assert result[:6] == [
        len(rows), len(val), int((val["maker"] == "<b>South</b>").sum()),
        int((val["label"] != val["answer"]).sum()), int((rows["label"] == "C").sum()), 1,
    ]  # fmt: skip
    assert result[6] == 2 and rows["key"][7] in result[7]  # the most doubtful one first
    assert result[8] == int((rows["split"] == "test").sum())


@pytest.mark.chromium
def test_the_keyboard_moves_on_and_toggles_the_overlay(page, chromium):
    rows, path = page()
    result = drive(
        chromium, path,
        """const key_shown = () => $('#facts dd:last-child').textContent, seen = [key_shown()];
        key('ArrowRight'); seen.push(key_shown());
        key('ArrowRight'); key('ArrowLeft'); seen.push(key_shown());
        key('ArrowLeft'); key('ArrowLeft'); seen.push(key_shown());
        const maps = [$('#map').hidden]; key('o'); maps.push($('#map').hidden);
        $('#overlay').click(); maps.push($('#map').hidden);
        return [seen, maps, $('#mapnote').textContent]""",
    )  # fmt: skip
    first, second = rows.loc[rows["split"] == "test", "key"].iloc[:2]
    assert result == [[first, second, second, first], [False, True, False], "what the map shows"]


@pytest.mark.chromium
def test_other_views_of_the_patient_are_reached_even_through_a_filter(page, chromium):
    rows, path = page()
    result = drive(
        chromium, path,
        """pick('#split', ''); $('#doubtful').click();
        const others = all('.others button').length; all('.others button')[0].click();
        const there = [others, $('#place').textContent, $('#facts').textContent];
        key('ArrowRight'); return [...there, $('#place').textContent]""",
    )  # fmt: skip
    patient = rows[rows["patient"] == rows["patient"][7]]
    assert result[0] == len(patient) - 1 == 3
    assert result[1] == "outside the filters" and result[3] == "2 of 2"
    assert any(key in result[2] for key in patient["key"] if key != rows["key"][7])


@pytest.mark.chromium
def test_a_reader_saves_corrections_that_a_spreadsheet_may_open(page, chromium):
    before = pd.DataFrame(
        [["0000ffff", "B", "C", "'Ann", "2026-01-02"]], columns=["key", "old", "new", "who", "when"]
    )
    rows, path = page(corrections=before)
    first = rows[rows["split"] == "test"].iloc[0]
    wanted = next(c for c in CLASSES if c != first["label"])
    result = drive(
        chromium, path,
        f"""const ready = [$('#save').disabled];
        key('{wanted.lower()}'); key('{first["label"].lower()}'); ready.push($('#save').disabled);
        $('#who').value = '=Eve, "MD"'; $('#who').oninput(); ready.push($('#save').disabled);
        const text = corrections(); key('Backspace');
        return [ready, text, $('#save').disabled]""",
    )  # fmt: skip
    assert result[0] == [True, True, False] and result[2] is True
    header, earlier, made = result[1].splitlines()
    assert header == "key,old,new,who,when" and earlier == "0000ffff,B,C,''Ann,2026-01-02"
    assert re.fullmatch(
        rf'{first["key"]},{first["label"]},{wanted},"\'=Eve, ""MD""",\d{{4}}-\d\d-\d\d', made
    )
    saved = restored(pd.read_csv(io.StringIO(result[1]), dtype=str))
    assert list(saved["who"]) == ["'Ann", '=Eve, "MD"']


@pytest.mark.chromium
@pytest.mark.parametrize("width", [1280, 500])
def test_nothing_is_wider_than_the_window(page, chromium, width):
    _, path = page()
    script = "return [document.documentElement.scrollWidth, window.innerWidth]"
    needed, there = drive(chromium, path, script, width)
    assert needed <= there
