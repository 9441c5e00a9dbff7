"""The tables of one study name the same images: a shortened or doubled one is refused."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mammo.errors import UserError


def require_unique(path: Path, keys: Iterable[str]) -> None:
    """Refuse a key that stands in two rows.

    Raises:
        UserError: Names the first such key.
    """
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise UserError(
            f"{path}: a key must stand in one row, got {min(twice)} more than once "
            f"({len(twice)} such keys); run `dvc repro` for the stage that writes it"
        )


def require_same(first: Path, keys: Iterable[str], second: Path, others: Iterable[str]) -> None:
    """Refuse two tables that don't name the same images, each once.

    Raises:
        UserError: Names an image that one of them lacks.
    """
    require_within(first, keys, second, others)
    require_within(second, others, first, keys)


def require_within(first: Path, keys: Iterable[str], second: Path, others: Iterable[str]) -> None:
    """Refuse a table that names an image which another one lacks.

    Raises:
        UserError: Names the image.
    """
    keys, others = list(keys), list(others)
    require_unique(first, keys)
    require_unique(second, others)
    missing = sorted(set(keys) - set(others))
    if missing:
        raise UserError(
            f"{second}: must hold every image of {first}, lacks {len(missing)} of {len(keys)}, "
            f"such as {missing[0]}; run `dvc repro` for the stage that writes it"
        )
