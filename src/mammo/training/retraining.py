"""Train a suffix's head once more, on balanced sampling, over what the training has learnt."""

from dataclasses import replace

from torch import nn

from mammo.network.compute import seed_everything
from mammo.network.head import ProportionalOdds
from mammo.network.strategies import Suffix
from mammo.training.job import Job
from mammo.training.loop import train
from mammo.training.outcome import Outcome
from mammo.training.progress import Progress
from mammo.training.settings import Recipe


def retrain_head(job: Job, suffix: Suffix, outcome: Outcome) -> Outcome:
    """Go on from a finished training: hold the best epoch's blocks, train a fresh head alone.

    Sampling is balanced whatever `balancing` says, and the learning rate starts again. The epochs
    count on in the history; the best epoch is one of the new ones. A training that was stopped
    for collapse stays as it is.

    Args:
        job: The finished training's.
        suffix: Is trained further.
        outcome: What it left behind.

    Source: Kang 2020, arXiv:1910.09217, section 4 (classifier re-training, cRT: representation
    from natural sampling, then the head re-initialised and trained on class-balanced sampling).
    """
    recipe = job.recipe
    if outcome.alerts and recipe.collapse.action == "stop":
        return outcome
    before = int(outcome.rows[-1]["epoch"])
    suffix.load_state_dict(outcome.best.state)
    seed_everything(recipe.train.seed, before)
    for layer in suffix.head.modules():
        if isinstance(layer, nn.Linear | ProportionalOdds):
            layer.reset_parameters()
    scope, suffix.scope = suffix.scope, "head"
    progress = job.progress
    if progress:  # inside the run's own folder, so that both are cleared together
        progress = Progress(progress.path.parent / "head", progress.every_s)
    again = replace(job, recipe=head_alone(recipe), progress=progress, epochs_before=before)
    following = train(again, suffix)
    suffix.scope = scope  # the blocks were trained, and count among what was
    suffix.release()
    rows, alerts = [*outcome.rows, *following.rows], [*outcome.alerts, *following.alerts]
    return Outcome(rows, following.best, following.last, alerts, head_retrained=True)


def head_alone(recipe: Recipe) -> Recipe:
    """State the recipe of the second training: a fresh head by gradient, sampling balanced."""
    strategy = {
        "head": "gradient",
        "warmup_epochs": 0,
        "epochs": recipe.train.retrain_head_epochs,
    }
    balancing = {"weighted_sampler": True, "power": 1.0}
    return replace(
        recipe,
        strategy=recipe.strategy.model_copy(update=strategy),
        balancing=recipe.balancing.model_copy(update=balancing),
    )
