"""Hash every object of DVC's cache anew and name what differs: `make verify`.

DVC trusts an object by its name: one that a failing disk has changed is restored without a word.
A damaged one is moved to .dvc/damaged/, so that the next `dvc pull` or `dvc repro` makes it anew.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    """Look at the cache that DVC uses here."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    if told.returncode:
        sys.exit(f"error: `dvc cache dir` ended with {told.returncode}:\n{told.stderr.strip()}")
    objects = list(objects_of(Path(told.stdout.strip())))
    damaged = [path for path in objects if not is_whole(path)]
    for path in damaged:
        target = Path(".dvc/damaged", path.parent.name + path.name)
        target.parent.mkdir(exist_ok=True)
        shutil.move(path, target)  # a shared cache lies on another disk
        print(f"{path}: damaged; moved to {target}")
    print(f"{len(objects)} objects, {len(damaged)} damaged")
    if damaged:
        sys.exit("dvc.lock still names them: run `dvc pull --allow-missing`, then `dvc repro`")


def objects_of(cache: Path) -> Iterator[Path]:
    """List the objects, by the name that is their MD5."""
    for path in sorted((cache / "files" / "md5").glob("??/*")):
        if path.is_file() and len(path.name.removesuffix(".dir")) == 30:
            yield path


def is_whole(path: Path) -> bool:
    """Compare content and name."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    return found == path.parent.name + path.name.removesuffix(".dir")


if __name__ == "__main__":
    main()
