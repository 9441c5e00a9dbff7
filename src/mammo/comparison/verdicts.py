"""What the page says is shown, and what isn't: in short, among strategies, against baselines."""

from collections.abc import Sequence

from mammo.comparison.results import Comparison, Pair, Sample, Test
from mammo.comparison.terms import in_words
from mammo.comparison.wording import (
    NOTHING,
    count,
    interval,
    listed,
    number,
    p_value,
    patients,
    share_of,
    table,
)

TESTS = {"bootstrap": "bootstrap", "mcnemar": "McNemar", "delong": "DeLong"}
FAMILIES = {
    "strategies": "the strategies among themselves",
    "baseline": "the strategies against the better baseline",
    "majority": "the strategies against the majority's class",
}


def summary(result: Comparison) -> list[str]:
    """Write the lines that say which strategy is best, and which beat the better baseline."""
    tested = result.sample.tested_metrics
    values = {name: arm.image[tested[0]].value for name, arm in result.strategies.items()}
    best = max(values, key=lambda name: values[name])
    behind = _shown_behind(best, tested[0], result)
    lines = [
        f"- Highest in {in_words(tested[0])}: `{best}`, "
        f"{interval(result.strategies[best].image[tested[0]])}. "
        + (f"Shown to be above {listed(behind)}." if behind else "Not shown to be above another.")
    ]
    if result.ceiling and tested[0] in result.ceiling.image:
        highest = result.ceiling.image[tested[0]]
        lines.append(
            f"- Ceiling: an observer who knows the true dense share reaches {interval(highest)}; "
            f"`{best}` has {share_of(values[best], highest)} of that."
        )
    reference = result.sample.reference
    if reference is not None:
        strong = [name for name in values if _beats(name, reference, tested[0], result)]
        weak = [name for name in values if name not in strong]
        against = f"{in_words(reference)}, the better baseline, in {in_words(tested[0])}"
        lines.append(
            f"- Shown to beat {against}: {listed(strong)}; not shown to: {listed(weak)}."
            if weak
            else f"- Every strategy is shown to beat {against}."
        )
    return lines


def _shown_behind(best: str, metric: str, result: Comparison) -> list[str]:
    """Name the strategies that `best` is shown to exceed in one metric."""
    rate = result.sample.false_discovery_rate
    return [
        pair.second if pair.first == best else pair.first
        for pair in result.pairs
        if pair.family == "strategies" and best in (pair.first, pair.second)
        for test in pair.by_image
        if test.metric == metric and test.is_shown(rate)
    ]


def differences(result: Comparison) -> str:
    """Write which strategies are shown to differ, question by question."""
    pairs = [pair for pair in result.pairs if pair.family == "strategies"]
    title = "## What differs, and what doesn't"
    if not pairs:
        return f"{title}\n\nOne strategy alone: there is nothing to compare it with."
    sample = result.sample
    rows = [
        [
            f"`{pair.first}` − `{pair.second}`",
            f"{in_words(test.metric)} by {test.level} ({TESTS[test.test]})",
            _difference(pair, test),
            p_value(test.p),
            p_value(test.p_adjusted),
            _verdict(pair, test, sample.false_discovery_rate),
            _needed(test, sample),
        ]
        for pair in pairs
        for test in pair.tests
    ]
    shown = sum(1 for row in rows if row[5].startswith("`"))
    sizes = "; ".join(f"{FAMILIES[name]}: {n}" for name, n in sample.tests.items())
    return (
        f"{title}\n\n"
        f"Of {count(len(rows), 'question')} asked about the strategies, {shown} "
        f"{'shows' if shown == 1 else 'show'} a difference. A difference counts as shown where its "
        "p value, adjusted by Benjamini–Hochberg for the tests of its family, is at most "
        f"{sample.false_discovery_rate:g}. The families are corrected apart, so that easy "
        f"questions don't loosen hard ones (tests in each: {sizes}). Where no difference is "
        "shown, the strategies may still differ by as much as the interval spans; the last column "
        "estimates how many test patients would show one of that size four times in five. The "
        "bootstrap draws patients with all their images; McNemar's exact test takes one decision a "
        "patient, DeLong's one score.\n\n"
        + table(
            ["pair", "question", "difference", "p", "adjusted p", "higher", "patients needed"], rows
        )
    )


def baselines(result: Comparison) -> str:
    """Write how each strategy stands against the better baseline and against the majority."""
    sample = result.sample
    against = [
        pair
        for family in ("baseline", "majority")
        for pair in result.pairs
        if pair.family == family
    ]
    if not against:
        return ""
    lines = [
        f"- `{pair.first}` less {in_words(pair.second)}: "
        + "; ".join(_against(pair, test, sample) for test in pair.tests if test.p is not None)
        + "."
        for pair in against
    ]
    untested = [(pair, test) for pair in against for test in pair.tests if test.p is None]
    if few := dict.fromkeys(in_words(test.metric) for _, test in untested if not _unvaried(test)):
        lines += ["", f"Too few patients of a class to be tested in: {', '.join(few)}."]
    if same := [
        f"`{pair.first}` less {in_words(pair.second)}, {_difference(pair, test)} in "
        f"{in_words(test.metric)}"
        for pair, test in untested
        if _unvaried(test)
    ]:
        said = "Without a p value, since the scores leave no variance to test by"
        lines += ["", f"{said}: {'; '.join(same)}."]
    without = [f"`{name}` ({in_words(name)})" for name in result.baselines]
    chosen = (
        f" The better of those that look at grey values, by quadratic kappa on val, is "
        f"`{sample.reference}`: every strategy is judged against it."
        if sample.reference
        else ""
    )
    return (
        "## Against baselines without a network\n\n"
        f"There are {_and(without)}.{chosen} A network that doesn't beat it has shown no use of "
        "what is in the picture beyond grey values.\n\n" + "\n".join(lines)
    )


def _against(pair: Pair, test: Test, sample: Sample) -> str:
    """Write one difference from a baseline, and whether it is shown."""
    shown = test.is_shown(sample.false_discovery_rate)
    verdict = ("shown" if _positive(test) else "**worse**") if shown else "**not shown**"
    notes = [f"adjusted p {p_value(test.p_adjusted)}"]
    if _needed(test, sample) != NOTHING:
        notes.append(f"{_needed(test, sample)} patients would show it")
    by = "" if test.level == "image" else f" by {test.level} ({TESTS[test.test]})"
    return (
        f"{_difference(pair, test)} in {in_words(test.metric)}{by}, {verdict} ({'; '.join(notes)})"
    )


def _unvaried(test: Test) -> bool:
    """Say whether DeLong's test found a difference and no variance: a faultless ranking, say."""
    return test.test == "delong" and test.p is None and test.difference is not None


def _positive(test: Test) -> bool:
    return test.difference is not None and test.difference > 0


def _beats(name: str, baseline: str, metric: str, result: Comparison) -> bool:
    """Say whether a strategy is shown to beat a baseline in one metric."""
    rate = result.sample.false_discovery_rate
    return any(
        test.metric == metric and test.is_shown(rate) and _positive(test)
        for pair in result.pairs
        if (pair.first, pair.second) == (name, baseline)
        for test in pair.by_image
    )


def _verdict(pair: Pair, test: Test, rate: float) -> str:
    if test.p is None:
        return "can't be tested"
    if not test.is_shown(rate):
        return "no difference shown"
    return f"`{pair.first if _positive(test) else pair.second}`"


def _needed(test: Test, sample: Sample) -> str:
    if test.patients_needed is None or test.is_shown(sample.false_discovery_rate):
        return NOTHING
    return patients(test.patients_needed)


def _difference(pair: Pair, test: Test) -> str:
    if test.test == "bootstrap":
        return interval(pair.differences[test.metric], "+")
    if test.difference is None:
        return NOTHING
    if test.test == "mcnemar":
        return (
            f"{number(test.difference, '+')} (alone right: {test.only_first_right} against "
            f"{test.only_second_right} patients)"
        )
    return number(test.difference, "+")


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
