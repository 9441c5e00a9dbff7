"""Refuse a bad params.yaml before anything runs: params.yaml -> data/check.txt, a constant.

Tests that what it names exists, and notes what DVC doesn't hash of it in data/outside.json.
"""

from mammo import paths
from mammo.check import check_inputs, check_params
from mammo.params import read_params
from mammo.stage import run_stage
from mammo.storage.files import write_text
from mammo.storage.outside import note_outside


def main() -> None:
    """Run the stage."""
    values = read_params()
    check_params(values)
    note_outside(check_inputs(values))
    write_text("params.yaml is sound\n", paths.CHECK)


if __name__ == "__main__":
    run_stage(main)
