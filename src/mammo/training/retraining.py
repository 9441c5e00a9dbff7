"""Train a suffix's head once more, on balanced sampling, over what the training has learnt."""

from dataclasses import replace

from torch import nn

from mammo.network.compute import seed_everything
from mammo.training.loop import Outcome, Run, train
from mammo.training.progress import Progress


def retrain_head(run: Run, outcome: Outcome) -> Outcome:
    """Go on from a finished training: hold the best epoch's blocks, train a fresh head alone.

    Sampling is balanced whatever `balancing` says, and the learning rate starts again. The epochs
    count on in the history; the best epoch is one of the new ones. A training that was stopped
    for collapse stays as it is. For a strategy that trains nothing but the head, this is training
    it once more with the sampler.

    Args:
        run: The finished run; its suffix is trained further.
        outcome: What it left behind.

    Source: Kang 2020, arXiv:1910.09217, section 4 (classifier re-training, cRT: representation
    from natural sampling, then the head re-initialised and trained on class-balanced sampling).
    """
    if outcome.alerts and run.collapse.action == "stop":
        return outcome
    before = int(outcome.rows[-1]["epoch"])
    suffix = run.suffix
    suffix.load_state_dict(outcome.best.state)
    seed_everything(run.params.seed, before)
    for layer in suffix.head.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    suffix.scope = "head"
    head_alone = {
        "train_backbone": False, "unfreeze_last_blocks": 0, "warmup_epochs": 0,
        "epochs": run.params.retrain_head_epochs,
    }  # fmt: skip
    setting = replace(
        run.setting,
        strategy=run.setting.strategy.model_copy(update=head_alone),
        balancing=run.setting.balancing.model_copy(update={"weighted_sampler": True}),
    )
    progress = run.progress
    if progress:  # inside the run's own folder, so that both are cleared together
        progress = Progress(progress.path.parent / "head", progress.every_s)
    again = train(replace(run, setting=setting, progress=progress, epochs_before=before))
    rows, alerts = [*outcome.rows, *again.rows], [*outcome.alerts, *again.alerts]
    return Outcome(rows, again.best, again.last, alerts)
