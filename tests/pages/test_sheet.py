"""The contact sheets."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mammo.dicom.params import Limits
from mammo.errors import FileFault
from mammo.pages.params import SheetParams
from mammo.pages.sheet import (
    BOX,
    WALL,
    Card,
    Group,
    draw_strip,
    prepared_groups,
    rejected_groups,
    with_thumbnails,
    write_sheets,
)
from mammo.pages.thumbnails import draw_file
from mammo.storage.tensors import Tensors, write_shards
from support.dicom_files import breast_pixels, dicom_bytes

PARAMS = SheetParams(images_per_group=2, thumbnail_px=96)
LIMITS = Limits(max_pixels=10**6, max_inflated_mb=8)


def images(makers):
    return pd.DataFrame(
        {
            "key": [f"k{n:02d}" for n in range(len(makers))],
            "path": [f"{n}.dcm" for n in range(len(makers))],
            "label": "B",
            "laterality": "L",
            "view": "CC",
            "manufacturer": makers,
        }
    )


def tensors_of(folder, n):
    folder.mkdir()
    write_shards(
        iter(np.full((n, 8, 8), 9, np.uint8)), [f"k{i:02d}" for i in range(n)], folder, 999
    )
    return Tensors(folder)


def colours(image):
    return {colour for _, colour in image.getcolors(maxcolors=10**6)}


def task_of(path):
    return {"path": str(path), "size_px": 96, "limits": LIMITS.model_dump()}


def test_a_group_counts_all_its_images_and_shows_the_first_of_them(tmp_path):
    table = images(["Maker"] * 3 + [""])
    groups = prepared_groups(table, tensors_of(tmp_path / "t", 4), PARAMS)
    assert [(g.title, g.count, len(g.cards)) for g in groups] == [
        ("B · CC · Maker", 3, 2),
        ("B · CC · unknown maker", 1, 1),
    ]


def test_rare_makers_share_a_group(tmp_path):
    table = images([f"M{n}" for n in range(5) for _ in range(2)] + ["rare", "rarer"])
    groups = prepared_groups(table, tensors_of(tmp_path / "t", 12), PARAMS)
    assert {g.title: g.count for g in groups}["B · CC · other makers"] == 2


def test_an_image_that_has_no_tensor_is_not_shown_as_prepared(tmp_path):
    (group,) = prepared_groups(images(["M"] * 3), tensors_of(tmp_path / "t", 2), PARAMS)
    assert group.count == 2


def test_reasons_come_with_the_commonest_first():
    quarantine = pd.DataFrame(
        {"path": ["a", "b", "c"], "reason": ["x", "y", "y"], "detail": ["1", "2", "3"]}
    )
    groups = rejected_groups(quarantine, PARAMS)
    assert [(g.title, g.count) for g in groups] == [("y", 2), ("x", 1)]


@pytest.mark.parametrize("wall", ["left", "right"])
def test_the_box_and_the_chest_wall_are_found_where_they_lie_in_the_file(tmp_path, wall):
    pixels = breast_pixels()  # chest wall at the left border, 96 x 64
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes(pixels if wall == "left" else pixels[:, ::-1].copy()))
    facts, thumbnail = draw_file(task_of(path))
    assert thumbnail.shape == (96, 64)
    assert facts["chest_wall"] == wall
    left, top, right, bottom = facts["box"]
    assert (left == 0) == (wall == "left") and (right == 64) == (wall == "right")
    assert abs(top - 0.1 * 96) <= 3 and abs(bottom - 0.9 * 96) <= 3


def test_a_file_that_can_not_be_decoded_says_so(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"nothing of the kind")
    with pytest.raises(FileFault):
        draw_file(task_of(tmp_path / "a.dcm"))


def test_crop_and_chest_wall_are_drawn():
    thumbnail = np.zeros((96, 64), np.uint8)
    plain = Card("a", ("a", "b"), thumbnail=thumbnail)
    boxed = Card("a", ("a", "b"), thumbnail=thumbnail, box=[0, 4, 40, 90], chest_wall="left")
    assert {BOX, WALL} <= colours(draw_strip(Group("t", 1, [boxed]), 96))
    assert not {BOX, WALL} & colours(draw_strip(Group("t", 1, [plain]), 96))


@pytest.mark.slow
def test_the_page_stands_alone_and_gives_the_counts(tmp_path):
    (tmp_path / "0.dcm").write_bytes(dicom_bytes(breast_pixels()))
    (tmp_path / "bad.dcm").write_bytes(b"no")
    prepared = prepared_groups(images(["M"]), tensors_of(tmp_path / "t", 1), PARAMS)
    quarantine = pd.DataFrame({"path": ["bad.dcm", "gone"], "reason": "<r>", "detail": "d"})
    rejected = rejected_groups(quarantine, PARAMS)
    drawn = [with_thumbnails(groups, tmp_path, PARAMS, LIMITS) for groups in (prepared, rejected)]
    assert drawn[0][0].cards[0].thumbnail is not None
    assert all(card.thumbnail is None for card in drawn[1][0].cards)
    write_sheets(*drawn, size_px=96, folder=tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "1 images prepared, 2 files rejected" in page and "&lt;r&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert Image.open(tmp_path / "prepared.png").width > 96
    assert Image.open(tmp_path / "rejected.png").width > 96
