"""Compare what the checkout keeps with the digests that it was written with: `make verify`.

Folders with a manifest below data/, models/ and plots/, the entries of the scratch stores, the
files named in params.yaml that DVC doesn't hash, and the package that the backbone came from.
Damaged entries of a scratch store are removed: they are made anew when they are needed.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mammo import paths
from mammo.dvc_yaml import find_value
from mammo.errors import UserError
from mammo.params import read_params
from mammo.storage.digests import file_sha256
from mammo.storage.files import read_json
from mammo.storage.manifest import MANIFEST, check_folder
from mammo.storage.outside import require_noted
from mammo.storage.scratch import Store


def main() -> None:
    """Look at everything; the faults are listed, and end in exit code 1."""
    looked_at, faults = 0, []
    for what, fault in (*folders(), *scratch(), *outside(), *package()):
        looked_at += 1
        if fault:
            faults.append(f"{what}: {fault}")
    print("\n".join(faults), end="\n" if faults else "")
    print(f"{looked_at} kept folders and files compared, {len(faults)} not as they were written")
    sys.exit(bool(faults))


def folders() -> Iterator[tuple[str, str]]:
    """Compare every folder that knows itself."""
    for top in (paths.DATA, paths.MODELS, paths.PLOTS):
        for manifest in sorted(top.rglob(MANIFEST)):
            yield str(manifest.parent), _fault_of(partial(check_folder, manifest.parent))


def scratch() -> Iterator[tuple[str, str]]:
    """Compare every entry of the scratch stores, and remove the damaged ones."""
    for kept in (paths.SCRATCH, Path("studies/.cache")):  # the studies have one of their own
        store = Store(kept / "images")
        for entry in sorted(store.folder.glob("??/*.kept")):
            damaged = store.get(entry.stem) is None
            if damaged:
                store.remove(entry.stem)
            yield str(entry), "damaged; removed" if damaged else ""
        for manifest in sorted(kept.rglob(MANIFEST)):
            yield str(manifest.parent), _fault_of(partial(check_folder, manifest.parent))


def outside() -> Iterator[tuple[str, str]]:
    """Compare the files that params.yaml names and DVC doesn't hash."""
    if not paths.OUTSIDE.exists():
        return
    try:
        values = read_params()
    except UserError as error:
        yield "the files that it names", str(error)
        return
    for key, sha256 in read_json(paths.OUTSIDE).items():
        named = find_value(values, key)
        if sha256 is not None and named is not None:
            yield str(named), _fault_of(partial(require_noted, key, paths.expanded(named)))


def package() -> Iterator[tuple[str, str]]:
    """Compare the installed package with what the backbone's parameters came from."""
    if not paths.PROVENANCE.exists():
        return
    facts = read_json(paths.PROVENANCE)
    name = facts.get("package")
    if name is None:
        return
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        yield name, "isn't installed any more"
        return
    found = [Path(str(f.locate())) for f in files if f.name == facts["source"]]
    same = bool(found) and file_sha256(found[0]) == facts["source_sha256"]
    yield name, "" if same else "another file than data/weights came from: `dvc repro -f weights`"


def _fault_of(look: Callable[[], object]) -> str:
    try:
        look()
    except (UserError, OSError) as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
