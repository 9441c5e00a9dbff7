"""Refuse a bad params.yaml before anything runs: params.yaml -> data/check.txt, a constant.

Tests that what it names exists, notes what DVC doesn't hash of it in data/outside.json, and in
data/parameters/ a digest of what shapes each strategy's answers.
"""

from mammo import paths
from mammo.check.fingerprints import note_parameters
from mammo.check.inputs import check_inputs
from mammo.check.parameters import check_params
from mammo.params import read_params
from mammo.stage import run_stage
from mammo.storage.files import write_text
from mammo.storage.outside import note_outside


def main() -> None:
    """Run the stage."""
    values = read_params()
    check_params(values)
    note_outside(check_inputs(values))
    note_parameters(values, paths.PARAMETERS)
    write_text("params.yaml is sound\n", paths.CHECK)


if __name__ == "__main__":
    run_stage(main)
