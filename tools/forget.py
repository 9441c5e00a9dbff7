"""Remove a patient who withdrew consent from all that this checkout keeps: `make forget PATIENT=…`.

Without `--yes` it only says what it would do. What the project doesn't own, the original files and
the label table, has to be changed first, by hand; docs/withdrawal.md says why, and what can't be
taken back at all.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mammo import paths
from mammo.datasets.folders import composed
from mammo.errors import UserError
from mammo.params import load_leaf, read_params
from mammo.storage.files import read_table

# All that may hold the patient and is made anew, or isn't needed: no backup of it is kept.
_KEPT = (
    paths.SCRATCH,
    paths.LOGS,
    Path(".dvc/cache/runs"),
    Path(".dvc/tmp/exps"),
    Path(".dvc/damaged"),
    Path("studies/.cache"),  # the studies are a repository of their own, with a scratch store
    Path("studies/.dvc/tmp/exps"),
    Path("studies/logs"),
)

_NAMED = ("root", "table", "corrections", "key_file")  # of section `dataset`: files of the user's


def main() -> None:
    """Plan, and with `--yes` do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patient", help="as in the label table, or in the DICOM header")
    parser.add_argument("--yes", action="store_true", help="do it; without, only say what")
    parser.add_argument("--target", default="", help="rebuild no further than this stage")
    arguments = parser.parse_args()
    try:
        forget(arguments.patient, arguments.yes, arguments.target)
    except UserError as error:
        sys.exit(f"error: {error}")


def forget(patient: str, really: bool, target: str = "") -> None:
    """Remove a patient from tensors, embeddings, models, scratch store, caches and logs.

    Raises:
        UserError: The original files or corrections of their labels are still there, or the patient
            still is in the end.
    """
    patient = composed(patient)  # as ingest keeps it
    found = read_table(paths.FILES)
    found = found[found["patient_id"] == patient]
    root = Path(load_leaf("dataset.root", str))
    here = [str(root / path) for path in found["path"] if (root / path).exists()]
    if found.empty:
        print(f"{patient}: {paths.FILES} names no such patient; is it spelt as there?")
    else:
        print(f"{patient}: {len(found)} images, keys {', '.join(found['key'])}")
    if here:
        raise UserError(
            "these originals are still there; remove them, their rows in "
            f"{load_leaf('dataset.table', str)}, and every copy and backup that you keep, then "
            "call this again:\n" + "\n".join(here)
        )
    corrections = Path(load_leaf("dataset.corrections", str))
    corrected = corrections.read_text("utf-8", "replace") if corrections.is_file() else ""
    rows = [key for key in found["key"] if key in corrected]
    if rows:
        raise UserError(
            f"{corrections}: still names images of {patient!r}, and ingest would stop at them; "
            f"remove the rows with the keys {', '.join(rows)}, then call this again"
        )
    steps = [f"rm -r {path}" for path in (*_KEPT, *_made()) if path.exists()]
    steps += [f"dvc repro {target}".strip(), "dvc gc -w -f", "dvc exp remove -A"]
    print("\n".join(steps))
    if not really:
        print("nothing was done: call `make forget PATIENT=… YES=1` to do it")
        return
    for path in (*_KEPT, *_made()):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    _run("dvc", "repro", *filter(None, [target]))
    left = read_table(paths.FILES)
    if (left["patient_id"] == patient).any():
        raise UserError(f"{paths.FILES}: still names {patient!r}; is a row of the table left?")
    _run("dvc", "gc", "-w", "-f")  # without --projects: what studies keep of the patient goes too
    subprocess.run([sys.executable, "-m", "dvc", "exp", "remove", "-A", "-q"], check=False)
    _say_what_is_left(list(found["key"]))


def _made() -> list[Path]:
    """List the outs that hold images, keys or what was learnt from them; own data stays."""
    kept = {path.resolve() for path in _own()}
    made = [
        path
        for path in sorted(paths.DATA.glob("*"))
        if path.suffix != ".dvc" and not any(k.is_relative_to(path.resolve()) for k in kept)
    ]
    return [*made, paths.MODELS, Path("bundle"), *sorted(Path("studies").glob("*/data"))]


def _own() -> Iterator[Path]:
    """Name what no stage makes again: what params.yaml names, what DVC follows, the phantom."""
    yield paths.PHANTOM
    values = read_params()
    named = [(values.get("dataset") or {}).get(key) for key in _NAMED]
    named += [(values.get("backbone") or {}).get("file")]
    yield from (paths.expanded(str(name)) for name in named if name)
    yield from (path.with_suffix("") for path in paths.DATA.glob("*.dvc"))


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], check=False)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` ended with {done.returncode}: see above")


def _say_what_is_left(keys: list[str]) -> None:
    remotes = subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "list"], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    names = [line.split()[0] for line in remotes if line.strip()]
    print("done here. What this command can't do (docs/withdrawal.md):")
    for name in names:
        print(f"  remote {name}: dvc gc -w -c -r {name}")
    print("  other clones: git pull, then the same command there, and in shared caches")
    listed = f" (keys {', '.join(keys)})" if keys else ""
    print(f"  Git's history: earlier plots/evaluation/*/predictions.csv{listed}")
    print("  models, bundles and results that have left this checkout")


if __name__ == "__main__":
    main()
