"""Set the bands anew from the committed runs and a run of the reduced ladder: bands.yaml.

No stage: run it by hand, and only when the ladder is changed on purpose, since it makes the tests
agree with whatever came out. `PYTHONPATH=src python studies/collapse/set_bands.py`
"""

import tempfile
from pathlib import Path

import yaml

from mammo import paths
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.storage.files import write_text
from studies.collapse.ladder.bench import ReducedParams, load_sections, reduced_ladder
from studies.collapse.ladder.records import load_ladder, read_epochs
from studies.collapse.ladder.verdict import BandParams, bands, runs_table

STUDY = Path("studies/collapse")
HEAD = """\
# Where the mean over seeds of each row must lie: test values after the last epoch. Written by
# set_bands.py: from the least to the most that a seed reached, and `bands.margin` further.
"""


def main() -> None:
    """Write the bands."""
    own = STUDY / "params.yaml"
    ladder, params = load_ladder(own, paths.PARAMS), load_params("bands", BandParams, own)
    epochs = {"ladder": read_epochs(STUDY / "epochs", list(ladder.rows))}
    with tempfile.TemporaryDirectory() as folder:
        sections = load_sections(own, paths.PARAMS)
        reduced = load_params("reduced", ReducedParams, own)
        epochs["reduced"] = reduced_ladder(Path(folder), sections, reduced)
    found = {name: bands(runs_table(e, ladder.truth), params) for name, e in epochs.items()}
    text = yaml.safe_dump(found, sort_keys=False, default_flow_style=None)
    write_text(HEAD + text, STUDY / "bands.yaml")


if __name__ == "__main__":
    run_stage(main)
