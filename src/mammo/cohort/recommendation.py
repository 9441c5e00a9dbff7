"""Which strategy suits a data set: by its size, and by size and imbalance together."""

from dataclasses import dataclass

ORDER = ("head_only", "last_block", "last_two_blocks", "full")  # the more cautious first


@dataclass(frozen=True)
class Advice:
    """A recommended strategy.

    Attributes:
        strategy: Its name; `probe` serves wherever `head_only` does.
        reason: By which rule, or both.
        sampler: Whether the sampler is needed.
        warmup_epochs: At least so many, where blocks train from a head that wasn't solved.
    """

    strategy: str
    reason: str
    sampler: bool
    warmup_epochs: int

    def sentence(self) -> str:
        """Say what is recommended, and why."""
        named = "probe or head_only" if self.strategy == "head_only" else self.strategy
        sampler = "with the sampler" if self.sampler else "the sampler is optional"
        return (
            f"recommended for this training split: {named} ({self.reason}), {sampler}; a head that "
            f"isn't solved needs a warm-up of {self.warmup_epochs} or more epochs; where memory or "
            "time is scarce, probe, head_only or last_block (docs/parameters.md)"
        )

    def most_blocks(self, blocks: int) -> int:
        """Count the blocks that it trains, of so many."""
        return {"head_only": 0, "last_block": 1, "last_two_blocks": 2}.get(self.strategy, blocks)


def recommend(images: int, imbalance: float) -> Advice:
    """Recommend a strategy; where size alone and size with imbalance differ, the more cautious.

    Args:
        images: Training images.
        imbalance: Largest class over smallest.
    """
    by_size = _by_size(images)
    by_both, sampler, warmup = _by_size_and_imbalance(images, imbalance)
    chosen = min(by_size, by_both, key=ORDER.index)
    reason = f"{images} images: {by_size}"
    reason += f"; with an imbalance of {imbalance:.1f} to 1: {by_both}"
    return Advice(chosen, reason, sampler, warmup)


def _by_size(images: int) -> str:
    for limit, name in ((500, "head_only"), (2_000, "last_block"), (10_001, "last_two_blocks")):
        if images < limit:
            return name
    return "full"


def _by_size_and_imbalance(images: int, imbalance: float) -> tuple[str, bool, int]:
    """Name the strategy, whether the sampler is needed, and the least warm-up."""
    if images < 1_000:
        return ("head_only", True, 3) if imbalance > 10 else ("last_block", False, 2)
    if imbalance > 10:
        return "last_block", True, 2
    return ("full" if images > 10_000 else "last_two_blocks"), False, 1
