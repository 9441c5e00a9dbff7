"""Train a strategy: data/{embeddings/S,tensors,weights,labels,splits} -> models/S/.

Writes metrics/train/S.json and plots/training/S/ too. Starts from stored activations where there
are any; an interrupted run goes on from its last saved epoch.
"""

import logging
import sys

from mammo import paths
from mammo.evaluation.suffix_file import save_suffix
from mammo.network.compute import start_together, together
from mammo.stage import after_success, run_stage
from mammo.storage.files import read_table, whole_folder, write_json
from mammo.training.history import HistoryWriter, summarise
from mammo.training.progress import Progress, run_key
from mammo.training.settings import load_settings
from mammo.training.trial import Stored, prepare, run_trial
from mammo.training.watch import risks


def main() -> None:
    """Run the stage for the strategy named on the command line."""
    name = sys.argv[1]
    settings = load_settings(name)
    fabric = start_together(settings.compute)
    if not fabric.is_global_zero:
        logging.disable(logging.WARNING)  # the first process says it for all
    embeddings = paths.EMBEDDINGS / name
    table = read_table(paths.LABELS).merge(read_table(paths.SPLITS), on="key")
    trial = prepare(settings, Stored(paths.BACKBONE, embeddings, paths.TENSORS), table, fabric)
    network = trial.network
    trainable, by_block = network.trainable(), network.trainable_by_block()
    progress = None
    if fabric.is_global_zero:
        inputs = [embeddings, paths.TENSORS, paths.BACKBONE, paths.LABELS, paths.SPLITS]
        folder = paths.SCRATCH / "train" / f"{name}-{run_key(settings.as_values(), inputs)}"
        progress = Progress(folder, settings.train.checkpoint_every_s)
    history_path = paths.TRAINING_PLOTS / name / "history.csv"
    with together(fabric), HistoryWriter(history_path, fabric.is_global_zero) as history:
        outcome = run_trial(trial, history.write, progress)
    if progress is None:
        return  # one process writes for all
    facts = {**settings.facts(), **trainable, "backbone_sha256": network.backbone_sha256}
    with whole_folder(paths.MODELS / name) as folder:
        best = {**facts, "epoch": outcome.best.epoch}
        save_suffix(outcome.best.state, best, folder / "best_model.safetensors")
        last = {**facts, "epoch": outcome.rows[-1]["epoch"]}
        save_suffix(outcome.last, last, folder / "last_model.safetensors")
    counts = {**trainable, "trainable_by_block": by_block}
    summary = summarise(outcome.rows, outcome.best.epoch, counts)
    write_json(
        {**summary, "risks": risks(trial.setting), "alerts": outcome.alerts},
        paths.TRAIN_METRICS / f"{name}.json",
    )
    after_success(progress.clear)  # not before what was read is known to be what DVC will lock


if __name__ == "__main__":
    run_stage(main)
