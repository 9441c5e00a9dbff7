"""Refuse a bad params.yaml before anything runs: params.yaml -> data/check.txt, a constant."""

from mammo import paths
from mammo.check import check_params
from mammo.params import read_params
from mammo.stage import run_stage
from mammo.storage.files import write_text


def main() -> None:
    """Run the stage."""
    check_params(read_params())
    write_text("params.yaml is sound\n", paths.CHECK)


if __name__ == "__main__":
    run_stage(main)
