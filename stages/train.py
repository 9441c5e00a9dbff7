"""Train a strategy: data/{embeddings/S,tensors,weights,images,labels,splits} -> models/S/.

Writes metrics/train/S.json and plots/training/S/ too. The head is solved on stored features;
deeper strategies go on from there. An interrupted run goes on from its last saved epoch.
"""

import logging
import sys

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.evaluation.suffix_file import save_suffix
from mammo.network.devices import start_together, together
from mammo.stage import after_success, run_stage
from mammo.storage.files import read_table, whole_folder, write_json
from mammo.storage.keys import require_same
from mammo.training.history import HistoryWriter, summarise
from mammo.training.progress import Progress, run_key
from mammo.training.settings import load_recipe
from mammo.training.trial import Stored, prepare, run_trial


def main() -> None:
    """Run the stage for the strategy named on the command line."""
    name = sys.argv[1]
    recipe = load_recipe(name)
    devices = start_together(recipe.compute, recipe.by_gradient)
    first = devices.global_rank == 0
    if not first:
        logging.disable(logging.WARNING)  # the first process says it for all
    embeddings = paths.EMBEDDINGS / name
    cases = read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS)
    index = read_table(paths.TENSOR_INDEX)
    require_same(paths.SPLITS, cases["key"], paths.TENSOR_INDEX, index["key"])
    trial = prepare(recipe, Stored(paths.BACKBONE, embeddings, paths.TENSORS), cases, devices)
    progress = None
    if first:
        inputs = [embeddings, paths.TENSORS, paths.BACKBONE]
        inputs += [paths.IMAGES, paths.LABELS, paths.SPLITS]
        folder = paths.SCRATCH / "train" / f"{name}-{run_key(recipe.as_values(), inputs)}"
        progress = Progress(folder, recipe.train.checkpoint_every_s)
    history_path = paths.TRAINING_PLOTS / name / "history.csv"
    with together(devices), HistoryWriter(history_path, first) as history:
        trained = run_trial(trial, history.write, progress)
    if progress is None:
        return  # one process writes for all
    outcome, best = trained.outcome, trained.outcome.best
    facts = {**trial.facts(outcome), **trial.network.trainable()}
    with whole_folder(paths.MODELS / name, manifest=True) as folder:
        kept = paths.BEST_MODEL
        if trained.refitted:
            kept, deployed = paths.TRAIN_ONLY_MODEL, trained.refitted.trial
            again = {**deployed.facts(), **deployed.network.trainable(), "epoch": best.epoch}
            state = deployed.network.suffix.state_dict()
            save_suffix(state, again, folder / paths.BEST_MODEL)
        save_suffix(best.state, {**facts, "epoch": best.epoch}, folder / kept)
        last = {**facts, "epoch": outcome.rows[-1]["epoch"]}
        save_suffix(outcome.last, last, folder / paths.LAST_MODEL)
    by_block = {"trainable_by_block": trial.network.trainable_by_block()}
    summary = summarise(outcome.rows, best.epoch, {**trial.network.trainable(), **by_block})
    write_json({**summary, **trained.notes()}, paths.TRAIN_METRICS / f"{name}.json")
    after_success(progress.clear)  # not before what was read is known to be what DVC will lock


if __name__ == "__main__":
    run_stage(main)
