"""Contact sheets: prepared images by class, view and maker; rejected ones by reason.

Each prepared image is shown twice: as it lies on disk, with the box that the crop keeps and a bar
at the chest wall, and as the network sees it. So a wrong crop or a breast turned the wrong way is
seen at a glance.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import cpu_count
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from mammo.dicom.params import Limits
from mammo.pages.params import SheetParams
from mammo.pages.style import STYLE
from mammo.pages.thumbnails import draw_file
from mammo.running.workers import Bounds, run_tasks
from mammo.storage.files import write_bytes, write_text
from mammo.storage.tensors import Tensors

MAKERS = 5  # shown by name, the commonest; the others share a group
GAP, CAPTION, TITLE = 6, 14, 22
PAPER, INK, FAINT = (250, 250, 248), (25, 25, 25), (120, 120, 120)
BOX, WALL = (255, 150, 0), (0, 190, 230)
BOUNDS = Bounds(timeout_s=60, memory_mb=2048)


@dataclass(frozen=True)
class Card:
    """One image of a sheet.

    Attributes:
        path: Of its file, below the root.
        caption: Up to two lines below the picture.
        tensor: (size, size), as the network sees it; None for a rejected image.
        thumbnail: (rows, columns) uint8, as it lies on disk; None where it can't be decoded.
        box: Left, top, right and bottom of the breast, in pixels of the thumbnail.
        chest_wall: `left`, `right` or ''.
    """

    path: str
    caption: tuple[str, str]
    tensor: np.ndarray | None = None
    thumbnail: np.ndarray | None = None
    box: list[int] | None = None
    chest_wall: str = ""


@dataclass(frozen=True)
class Group:
    """A strip of cards under one title; `count` is of all images that belong there."""

    title: str
    count: int
    cards: list[Card]


def prepared_groups(images: pd.DataFrame, tensors: Tensors, params: SheetParams) -> list[Group]:
    """Choose the first images, by key, of each class, view and maker.

    Args:
        images: Columns key, path, label, laterality, view, manufacturer.
        tensors: The prepared images.
        params: Section `sheet`.
    """
    images = images[images["key"].isin(tensors.keys)].sort_values("key")
    makers = images["manufacturer"].replace("", "unknown maker")
    commonest = set(makers.value_counts().index[:MAKERS])
    images = images.assign(maker=makers.where(makers.isin(commonest), "other makers"))
    groups = []
    for (label, view, maker), rows in images.groupby(["label", "view", "maker"], sort=True):
        shown = rows.head(params.images_per_group)
        pictures = tensors.gather(tensors.positions(list(shown["key"])))
        cards = [
            Card(row["path"], (row["key"], f"{row['laterality']} {row['view']}"), picture)
            for (_, row), picture in zip(shown.iterrows(), pictures, strict=True)
        ]
        groups.append(Group(f"{label} · {view} · {maker}", len(rows), cards))
    return groups


def rejected_groups(quarantine: pd.DataFrame, params: SheetParams) -> list[Group]:
    """Choose the first images, by path, of each reason; the commonest reason first.

    Args:
        quarantine: Columns path, reason, detail.
        params: Section `sheet`.
    """
    groups = [
        Group(
            str(reason),
            len(rows),
            [
                Card(row["path"], (Path(row["path"]).name, row["detail"]))
                for _, row in rows.sort_values("path").head(params.images_per_group).iterrows()
            ],
        )
        for reason, rows in quarantine.groupby("reason")
    ]
    return sorted(groups, key=lambda group: (-group.count, group.title))


def with_thumbnails(
    groups: Sequence[Group], root: Path, params: SheetParams, limits: Limits
) -> list[Group]:
    """Decode each card's file in worker processes; one that can't be decoded stays blank."""
    paths = sorted({card.path for group in groups for card in group.cards})
    tasks = [
        {
            "path": str((root / path).resolve()),
            "name": path,
            "size_px": params.thumbnail_px,
            "limits": limits.model_dump(),
        }
        for path in paths
        if (root / path).is_file()
    ]
    drawn: dict[str, tuple[dict[str, Any], np.ndarray]] = {}
    function = f"{draw_file.__module__}:{draw_file.__name__}"
    outcomes = run_tasks(function, tasks, min(cpu_count(), max(1, len(tasks) // 8)), BOUNDS)
    for outcome in tqdm(outcomes, "sheet", len(tasks), unit="image", disable=None):
        if outcome.array is not None:
            drawn[outcome.task["name"]] = (outcome.facts, outcome.array)
    return [replace(group, cards=[_drawn(card, drawn) for card in group.cards]) for group in groups]


def _drawn(card: Card, drawn: dict[str, tuple[dict[str, Any], np.ndarray]]) -> Card:
    if card.path not in drawn:
        return card
    facts, thumbnail = drawn[card.path]
    return replace(card, thumbnail=thumbnail, box=facts["box"], chest_wall=facts["chest_wall"])


def write_sheets(
    prepared: Sequence[Group], rejected: Sequence[Group], size_px: int, folder: Path
) -> None:
    """Write index.html, which stands alone, and both sheets as PNG files, into a folder."""
    strips = {
        "prepared": [draw_strip(group, size_px) for group in prepared],
        "rejected": [draw_strip(group, size_px) for group in rejected],
    }
    for name, drawn in strips.items():
        write_bytes(_png(_stacked(drawn)), folder / f"{name}.png")
    write_text(_page(prepared, rejected, strips), folder / "index.html")


def draw_strip(group: Group, size_px: int) -> Image.Image:
    """Draw a group: its title, and its cards in a row."""
    pictures = [_card(card, size_px) for card in group.cards]
    width = sum(picture.width + GAP for picture in pictures) + GAP
    height = TITLE + max((picture.height for picture in pictures), default=0) + GAP
    strip = Image.new("RGB", (max(width, 4 * size_px), height), PAPER)
    pen = ImageDraw.Draw(strip)
    shown = f", {len(group.cards)} shown" if len(group.cards) < group.count else ""
    pen.text((GAP, 3), f"{group.title}   {group.count} images{shown}", INK, _font(14))
    left = GAP
    for picture in pictures:
        strip.paste(picture, (left, TITLE))
        left += picture.width + GAP
    return strip


def _card(card: Card, size_px: int) -> Image.Image:
    """Draw the file as it lies on disk, and beside it the tensor, in squares of one size."""
    squares = [_on_disk(card, size_px)]
    if card.tensor is not None:
        squares.append(_as_seen(card.tensor, size_px))
    picture = Image.new("RGB", (len(squares) * (size_px + 2), size_px + 2 * CAPTION + 2), PAPER)
    for place, square in enumerate(squares):
        picture.paste(square, (place * (size_px + 2), 0))
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(card.caption):
        colour = FAINT if number else INK
        pen.text((0, size_px + 1 + number * CAPTION), _fitted(line, picture.width), colour, _font())
    return picture


def _on_disk(card: Card, size_px: int) -> Image.Image:
    square = Image.new("RGB", (size_px, size_px), (60, 60, 60))
    if card.thumbnail is None:
        ImageDraw.Draw(square).text((6, size_px // 2 - 6), "can't be decoded", PAPER, _font())
        return square
    rows, columns = card.thumbnail.shape
    left, top = (size_px - columns) // 2, (size_px - rows) // 2
    square.paste(Image.fromarray(card.thumbnail).convert("RGB"), (left, top))
    if card.box is not None:
        x0, y0, x1, y1 = (c + o for c, o in zip(card.box, (left, top, left, top), strict=True))
        pen = ImageDraw.Draw(square)
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=BOX)
        x = x0 if card.chest_wall == "left" else x1 - 3
        pen.rectangle((x, y0, x + 2, y1 - 1), fill=WALL)
    return square


def _as_seen(tensor: np.ndarray, size_px: int) -> Image.Image:
    grey = (tensor >> 8).astype(np.uint8) if tensor.dtype == np.uint16 else tensor
    square = Image.fromarray(grey).resize((size_px, size_px), Image.Resampling.BILINEAR)
    square = square.convert("RGB")
    # In the tensor every chest wall is at the left border.
    ImageDraw.Draw(square).rectangle((0, 0, 2, size_px - 1), fill=WALL)
    return square


def _fitted(line: str, width: int) -> str:
    """Cut a line to what fits."""
    font = _font()
    while line and font.getlength(line) > width:
        line = line[:-2].rstrip(".…") + "…" if len(line) > 3 else ""
    return line


def _font(size: int = 11) -> Any:
    return ImageFont.load_default(size)


def _stacked(strips: Sequence[Image.Image]) -> Image.Image:
    if not strips:
        empty = Image.new("RGB", (320, 40), PAPER)
        ImageDraw.Draw(empty).text((GAP, 12), "no image", INK, _font(14))
        return empty
    sheet = Image.new(
        "RGB", (max(s.width for s in strips), sum(s.height + GAP for s in strips)), PAPER
    )
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + GAP
    return sheet


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _page(
    prepared: Sequence[Group],
    rejected: Sequence[Group],
    strips: dict[str, list[Image.Image]],
) -> str:
    accepted = sum(group.count for group in prepared)
    refused = sum(group.count for group in rejected)
    reasons = "".join(
        f"<tr><td>{html.escape(group.title)}</td><td class=n>{group.count}</td></tr>"
        for group in rejected
    )
    table = f"<table><tr><th>reason</th><th>files</th></tr>{reasons}</table>" if rejected else ""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>Contact sheets</title><style>{STYLE}</style><main>",
        "<h1>Contact sheets</h1>",
        f"<p>{accepted} images prepared, {refused} files rejected. This page holds pictures of "
        "patients: it is never pushed and should not leave the building.</p>",
        "<p>Left of each pair: the file as it lies on disk, <b style='color:#d07800'>orange</b> "
        "the box that the crop keeps, <b style='color:#0090b0'>blue</b> the chest wall. Right: as "
        "the network sees it, chest wall at the left border.</p>",
        "<h2>Prepared</h2>",
        *map(_figure, prepared, strips["prepared"]),
        f"<h2>Rejected: {refused}</h2>{table}",
        *map(_figure, rejected, strips["rejected"]),
        "</main></html>\n",
    ]
    return "\n".join(parts)


def _figure(group: Group, strip: Image.Image) -> str:
    """Embed a strip; a phone scrolls it sideways."""
    encoded = base64.b64encode(_png(strip)).decode()
    title = html.escape(f"{group.title}, {group.count} images", quote=True)
    return f'<div class=wide><img alt="{title}" src="data:image/png;base64,{encoded}"></div>'
