"""Hold the rows of the label table against each other and against the files on disk."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mammo.datasets.folders import (
    IMAGE_SUFFIXES,
    Finder,
    Survey,
    composed,
    shown,
    without_end_blanks,
)
from mammo.datasets.rows import ImageRow
from mammo.errors import FileFault, UserError
from mammo.ingest.sieve import Sieve

SUFFIXES = (*IMAGE_SUFFIXES, ".dic", ".ima")
logger = logging.getLogger(__name__)


def one_row_a_path(table: Sequence[ImageRow], sieve: Sieve) -> list[ImageRow]:
    """Merge equal rows of one path; rows that contradict each other are all set aside."""
    by_path: dict[str, list[ImageRow]] = defaultdict(list)
    for row in table:
        if row.reason in ("path_missing", "path_outside_root"):
            sieve.reject(row, FileFault(row.reason, row.detail))
        else:
            by_path[row.path].append(row)
    rows = []
    for same_path in by_path.values():
        row = same_path[0]
        if len(set(same_path)) > 1:
            sieve.reject(row, _contradiction(same_path))
        elif row.reason:
            sieve.reject(row, FileFault(row.reason, row.detail))
        else:
            rows.append(row)
    return sorted(rows, key=lambda row: row.path)


def _contradiction(rows: Sequence[ImageRow]) -> FileFault:
    """Say in what several rows of one image differ."""
    labels = sorted({row.label or row.detail for row in rows})
    if len(labels) > 1:
        return FileFault(
            "conflicting_labels", f"{len(rows)} rows of the table say: {'; '.join(labels)}"
        )
    facts = [
        f"{name} {' or '.join(repr(value) for value in sorted(values))}"
        for name in ("patient_id", "accession_number", "laterality", "view", "published_split")
        if len(values := {getattr(row, name) for row in rows}) > 1
    ]
    return FileFault("conflicting_rows", f"{len(rows)} rows of the table say: {'; '.join(facts)}")


def rows_on_disk(
    root: Path, rows: Iterable[ImageRow], sieve: Sieve, found: Survey
) -> list[ImageRow]:
    """Keep the rows whose path names a file below the root, under the name that it has there."""
    finder, kept = Finder(found.files), []
    for row in rows:
        paths = finder.exact(row.path)
        if row.path in paths:
            paths = [row.path]
        if len(paths) == 1:
            kept.append(replace(row, path=paths[0]))
        else:
            sieve.reject(row, _absence(root, row.path, paths, found, finder))
    return kept


def _absence(root: Path, path: str, paths: list[str], found: Survey, finder: Finder) -> FileFault:
    """Say why a path names no file to read."""
    if paths:
        return FileFault(
            "file_ambiguous", f"{len(paths)} files differ from it in their Unicode form alone"
        )
    if path in found.special:
        return FileFault("file_unreadable", f"it is {found.special[path]}, not a file")
    for folder, why in found.unreadable.items():
        if path.startswith(f"{folder}/"):
            return FileFault("unreadable_folder", f"{folder}: {why}")
    try:
        (root / path).stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:  # too long, a circle of links, a NUL
        return FileFault("file_missing", f"not a path: {error}")
    else:
        # Hidden, or its name's bytes differ: only regular files in sight count.
        if (root / path).is_dir():
            return FileFault("file_missing", f"{root / path} is a folder")
        if any(part.startswith(".") for part in PurePosixPath(path).parts):
            return FileFault(
                "file_missing",
                f"{shown(path)}: names that begin with a dot are hidden and left out; rename it",
            )
    exists = _what_exists(path, finder)
    return FileFault("file_missing", f"no file {shown(str(root / path))}{exists}")


def _what_exists(path: str, finder: Finder) -> str:
    """Name a file beside the missing one, in quotes where blanks at its ends would be unseen."""
    if padded := finder.padded(path):
        return f"; there is {padded!r}, with a blank at an end: rename it"
    other = finder.nearest(path)
    if not other:
        return ""
    return f"; there is {other if other == without_end_blanks(other) else repr(other)}"


def files_in_no_row(root: Path, named: set[str], found: Survey) -> Iterator[tuple[str, FileFault]]:
    """Yield what lies below the root and no row names, with the reason."""
    known = {composed(path) for path in named}
    for path in found.files:
        if composed(path) not in known and _looks_like_image(root / path):
            yield path, FileFault("file_not_in_table", "no row of the table names it")
    for path in found.not_utf8:
        yield (
            shown(path),
            FileFault(
                "file_name_not_utf8",
                "DVC can't track a name that isn't UTF-8: rename the file, for instance with "
                f"`convmv -f latin1 -t utf8 --notest -r {root}`",
            ),
        )
    for path, kind in found.special.items():
        yield path, FileFault("special_file", f"{kind} is no file: remove it")
    for folder, why in found.unreadable.items():
        yield folder, FileFault("unreadable_folder", f"what lies in it can't be seen: {why}")


def require_readable(root: Path, found: Survey, rows: Sequence[ImageRow], stop: bool) -> None:
    """Report folders that can't be read and what they hide.

    Raises:
        UserError: There are some, and the policy says to stop.
    """
    if not found.unreadable:
        return
    hidden = [
        row.path for row in rows if any(row.path.startswith(f"{f}/") for f in found.unreadable)
    ]
    listed = "; ".join(f"{root / folder}: {why}" for folder, why in found.unreadable.items())
    message = (
        f"dataset.root: {len(found.unreadable)} folders can't be read ({listed}), which hide "
        f"{len(hidden)} images that the table names by path, and any other"
    )
    if stop:
        raise UserError(
            f"{message}; mend their permissions, or go on without them with "
            "ingest.policies.unreadable_folder: flag"
        )
    logger.warning(message)


def _looks_like_image(file: Path) -> bool:
    """Tell by the suffix, or by the DICOM preamble where there is none (PS3.10 7.1)."""
    suffix = file.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if suffix and not suffix[1:].isdigit():  # the "suffix" of a UID is its last number
        return False
    try:
        with file.open("rb") as content:
            return content.read(132)[128:] == b"DICM"
    except OSError:
        return False
