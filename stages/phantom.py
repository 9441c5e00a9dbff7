"""Draw the embedded default dataset: params.yaml (phantom) -> data/phantom/.

Where `dataset.root` names another data set nothing is drawn: the folder stays empty.

What its reader had to guess, the true dense shares, goes to data/phantom_truth.csv, and how well
somebody who knows them can do to metrics/phantom.json.
"""

from mammo import paths
from mammo.params import load_leaf, load_params
from mammo.phantom.dataset import write_empty, write_phantom
from mammo.phantom.params import PhantomParams
from mammo.running.workers import cores
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_table


def main() -> None:
    """Run the stage."""
    if paths.is_phantom(load_leaf("dataset.root", str)):
        workers = min(cores(), 8)  # more take longer to start than they save
        drawn = write_phantom(paths.PHANTOM, load_params("phantom", PhantomParams), workers)
    else:
        drawn = write_empty(paths.PHANTOM)
    write_table(drawn.truth, paths.PHANTOM_TRUTH)
    write_json(drawn.ceiling, paths.PHANTOM_METRICS)


if __name__ == "__main__":
    run_stage(main)
