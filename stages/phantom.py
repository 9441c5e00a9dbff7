"""Draw the embedded default dataset: params.yaml (phantom) -> data/phantom/."""

import joblib

from mammo import paths
from mammo.params import load_params
from mammo.phantom.dataset import write_phantom
from mammo.phantom.params import PhantomParams
from mammo.stage import run_stage


def main() -> None:
    """Run the stage."""
    workers = min(joblib.cpu_count(), 8)  # more take longer to start than they save
    write_phantom(paths.PHANTOM, load_params("phantom", PhantomParams), workers)


if __name__ == "__main__":
    run_stage(main)
