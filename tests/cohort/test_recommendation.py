"""The recommended strategy by size, and by size and imbalance."""

import pytest

from mammo.cohort.recommendation import recommend


@pytest.mark.parametrize(
    ("images", "imbalance", "strategy"),
    [
        # by size alone: below 500 head only, 2,000 last block, 10,000 last two, else full
        (499, 2, "head_only"),
        (500, 2, "last_block"),
        (1_999, 2, "last_block"),
        (2_000, 2, "last_two_blocks"),
        (9_999, 2, "last_two_blocks"),
        (10_001, 2, "full"),
        # with imbalance: below 1,000 and above 10 to 1 head only, from 1,000 last block
        (999, 10.1, "head_only"),
        (999, 10, "last_block"),
        (5_000, 21.2, "last_block"),
        (50_000, 21.2, "last_block"),
    ],
)
def test_the_more_cautious_of_both_rules_is_given(images, imbalance, strategy):
    assert recommend(images, imbalance).strategy == strategy


def test_both_reasons_are_given_with_sampler_and_warmup():
    advice = recommend(800, 21.2)
    assert advice.reason == "800 images: last_block; with an imbalance of 21.2 to 1: head_only"
    assert advice.sampler and advice.warmup_epochs == 3
    assert not recommend(800, 3).sampler
    assert recommend(3_000, 3).warmup_epochs == 1


def test_the_sentence_says_what_why_and_what_else():
    text = recommend(400, 21.2).sentence()
    assert "probe or head_only (400 images: head_only" in text
    assert "with the sampler" in text and "3 or more epochs" in text
    # more training than the default is recommended too
    assert "last_two_blocks (" in recommend(5_000, 3.0).sentence()
    assert "the sampler is optional" in recommend(5_000, 3.0).sentence()
