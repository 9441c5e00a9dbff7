"""The pages of the studies and their picture, written from made-up results."""

import re

import pandas as pd
import pytest

from mammo.comparison.wording import patients
from studies.architectures.page import architectures_page
from studies.background.run import TESTED, page
from studies.cells.arms import ArmParams
from studies.cells.params import CrossValidationParams
from studies.cross_validation.baselines import PooledBaselines, mean_over_folds
from studies.cross_validation.page import Evidence, cross_validation_page
from studies.cross_validation.questions import asked, default_strategies
from studies.pages.figure import forest
from studies.pages.repeats import adjusted, compare_repeats
from studies.pages.results import Difference, Question
from studies.pages.wording import adjustment, as_values, differences_table
from studies.seeds.page import seeds_page
from support.made_up import compare_params, predictions

PARAMS = compare_params(draws=100, tested_metrics=["kappa_quadratic"])
FACTS = {
    "trainable_parameters": 12_345, "trainable_percent": 1.5, "status": "healthy",
    "collapsed": False, "kappa": 0.5, "kappa_quadratic": 0.61, "bal_acc_adj": 0.4,
    "max_predicted_share": 0.5, "best_epoch": 3, "epochs": 8, "alerts": 0, "decision": "argmax",
}  # fmt: skip


def tables(*skills, repeats=("0",), patients=30):
    return {
        name: {repeat: predictions(name + repeat, skill, patients) for repeat in repeats}
        for name, skill in skills
    }


ARMS = {
    "probe": ArmParams(strategy="probe", set=[]),
    "power_0": ArmParams(strategy="probe", set=["balancing.power=0"]),
}


def page_of_folds(judged, baselines, cross_fitted):
    """Compare made-up arms as the stage does, and write the page."""
    found = PooledBaselines(baselines, cross_fitted)
    questions = asked(list(judged), "probe", default_strategies(ARMS, ["last_block"]), found.better)
    result = compare_repeats({**judged, **baselines}, questions, ["kappa_quadratic"], PARAMS)
    evidence = Evidence(
        subject="made-up images",
        result=result,
        params=CrossValidationParams(
            reference="probe", trained=["last_block"], folds=[0], splits=[0],
            ensembles={"both": ["probe", "power_0"]},
        ),
        compare=PARAMS,
        arms=ARMS,
        baselines=found,
        facts={name: {"0-0": FACTS} for name in ("probe", "power_0", "last_block")},
        cases=pd.DataFrame({"patient": ["a", "b", "c", "d"], "label": list("ABCD")}),
        refit=True,
        ceiling={"kappa_quadratic": 0.9},
    )  # fmt: skip
    return result, cross_validation_page(evidence)


ARMS_OF_FOLDS = (("probe", 2.0), ("power_0", 0.0), ("both", 2.0), ("last_block", 0.0))
BASELINES_OF_FOLDS = (("majority_class", 0.0), ("intensity_histogram", 1.0), ("grey_features", 0.5))
BY_TRAIN = {"intensity_histogram": 0.1, "grey_features": 0.4}


def test_the_page_of_a_cross_validation_says_what_is_shown_and_by_how_much():
    result, page = page_of_folds(tables(*ARMS_OF_FOLDS), tables(*BASELINES_OF_FOLDS), BY_TRAIN)
    own = result.arms["probe"]["kappa_quadratic"].value
    assert f"quadratic kappa {own:.2f} by image" in page
    assert f"reference has {own / 0.9:.0%} of it" in page
    assert "Shown to be worse: `power_0`" in page
    assert "in 3 families, each apart" in page
    assert "`balancing.power=0`" in page and "12,345" in page and "0.61 (3 of 8)" in page
    assert "a head that is solved alone learns from val too" in page
    assert "nan" not in page and "None" not in page


def test_every_strategy_is_held_against_the_better_baseline_and_said_to_be_above_or_below():
    result, page = page_of_folds(tables(*ARMS_OF_FOLDS), tables(*BASELINES_OF_FOLDS), BY_TRAIN)
    against = {d.first: d for d in result.of_family("baseline")}
    assert list(against) == ["probe", "last_block"]  # what is set otherwise is no strategy
    assert against["probe"].shown(0.1) and against["last_block"].value < 0
    line = next(line for line in page.splitlines() if "the better baseline: " in line)
    assert f"`probe` (+{against['probe'].value:.2f}) shown to be above" in line
    lost = f"`last_block` (−{-against['last_block'].value:.2f})"
    shown = against["last_block"].shown(0.1)
    assert f"{lost} {'shown to be below' if shown else 'below, but not shown'}" in line
    assert "| `last_block` − `grey_features` | quadratic kappa | −" in page
    assert f"{against['last_block'].patients_needed:,} patients would show it" in page


def test_the_better_baseline_is_chosen_on_train_not_on_what_is_judged():
    judged, baselines = tables(*ARMS_OF_FOLDS), tables(*BASELINES_OF_FOLDS)
    result, page = page_of_folds(judged, baselines, BY_TRAIN)
    on_test = {name: result.arms[name]["kappa_quadratic"].value for name in BY_TRAIN}
    assert on_test["intensity_histogram"] > on_test["grey_features"]
    assert {d.second for d in result.of_family("baseline")} == {"grey_features"}
    assert "cross-fitted by patient, in the mean over folds (`intensity_histogram` 0.10" in page
    _, page = page_of_folds(judged, baselines, {**BY_TRAIN, "intensity_histogram": 0.5})
    assert "against `intensity_histogram`, the better baseline" in page


def test_the_better_baseline_is_so_in_the_mean_over_folds_and_the_histogram_of_equals():
    folds = [{"histogram": 0.5, "grey": 0.0}, {"histogram": 0.3, "grey": 0.9}]
    kappas = mean_over_folds(folds)  # .8 / 2 and .9 / 2
    assert kappas == pytest.approx({"histogram": 0.4, "grey": 0.45})
    assert PooledBaselines({}, kappas).better == "grey"
    assert PooledBaselines({}, mean_over_folds(folds[:1])).better == "histogram"
    assert PooledBaselines({}, {"histogram": 0.4, "grey": 0.4}).better == "histogram"


def test_easy_questions_of_one_family_do_not_loosen_the_hard_ones_of_another():
    """Alone, .04 and .5 become .08 and .5; with eight of .001 the .04 would become .044."""
    hard = [difference("strategies", 0.04), difference("strategies", 0.5)]
    easy = [difference("majority", 0.001) for _ in range(8)]
    untested = difference("majority", None)
    found = adjusted([hard[0], *easy, untested, hard[1]])
    assert found[0].p_adjusted == pytest.approx(0.08) and not found[0].shown(0.05)
    assert found[-1].p_adjusted == pytest.approx(0.5)
    assert [d.p_adjusted for d in found[1:9]] == pytest.approx([0.001] * 8)
    assert found[9].p_adjusted is None
    sentence = adjustment(found, 0.05)
    assert "in 2 families, each apart" in sentence
    assert "arms among themselves: 2; strategies against the majority's class: 8" in sentence


def difference(family, p):
    return Difference("one", "other", family, "kappa", 0.1, 0.0, 0.2, p, None, 90)


def with_thin_class(*skills, repeats=("0",)):
    """Leave one patient of class A in test; the other classes have five and more."""
    found = tables(*skills, repeats=repeats, patients=60)
    table = next(iter(found[skills[0][0]].values()))
    of_a = table[(table["label"] == "A") & (table["split"] == "test")]["patient"].unique()
    assert len(of_a) > 1
    return {
        name: {run: t[~t["patient"].isin(of_a[1:])] for run, t in of.items()}
        for name, of in found.items()
    }


NAMED = "Too few patients are of class A (1 patient): recalls of it, and what averages over"


def test_what_averages_over_a_thin_class_has_neither_interval_nor_p_nor_patients_needed():
    judged = with_thin_class(("one", 2.0), ("two", 0.0), repeats=("0", "1"))
    tested = ["bal_acc_adj", "bal_acc_adj_patient", "kappa_quadratic", "accuracy"]
    result = compare_repeats(judged, [Question("one", "two")], tested, PARAMS)
    assert result.thin_classes == {"A": 1}
    own = result.arms["one"]
    for metric in ("bal_acc_adj", "bal_acc_adj_patient", "bal_acc_adj_patient_denser"):
        assert own[metric].value > 0 and (own[metric].low, own[metric].high) == (None, None)
    for metric in ("kappa", "kappa_quadratic_patient", "accuracy"):
        assert own[metric].low < own[metric].value < own[metric].high
    *means, kappa, accuracy = result.differences
    for found in means:
        nothing = (found.low, found.high, found.p, found.p_adjusted, found.patients_needed)
        assert found.value > 0 and nothing == (None,) * 5
    for found in (kappa, accuracy):
        assert found.low < found.value < found.high and found.shown(0.1)
    row = differences_table(means[:1], 0.1).splitlines()[-1]
    assert "(no interval) | – | – | can't be tested |" in row


def test_a_class_may_be_thin_by_patient_alone():
    """Who has a denser breast counts as that: many have images of A, one is a patient of A."""

    def with_denser_breast(table):
        of_a = (table["label"] == "A") & (table["split"] == "test")
        first = table[of_a]["patient"].min()
        denser = of_a & (table["laterality"] == "R") & (table["patient"] != first)
        return table.assign(label=table["label"].mask(denser, "B"))

    judged = {
        name: {run: with_denser_breast(table) for run, table in of.items()}
        for name, of in tables(("one", 2.0), patients=150).items()
    }
    own = compare_repeats(judged, [], [], PARAMS).arms["one"]
    assert own["bal_acc_adj"].low is not None
    assert own["bal_acc_adj_patient"].low is own["bal_acc_adj_patient_denser"].low is None


def test_every_page_names_the_thin_class_and_gives_its_means_no_interval():
    seeds = with_thin_class(("probe", 1.0), ("full", 1.0), repeats=("0", "1"))
    facts = {name: {"0": FACTS, "1": FACTS} for name in seeds}
    result = compare_repeats(seeds, [Question("probe", "full")], ["bal_acc_adj"], PARAMS)
    pages = [seeds_page("made-up images", result, facts, PARAMS)]
    networks = with_thin_class(("lite0 probe", 1.0), ("lite1 probe", 1.0))
    result = compare_repeats(networks, [Question(*networks)], ["kappa_quadratic"], PARAMS)
    facts = {name: {"split": FACTS} for name in networks}
    pages.append(architectures_page("made-up images", result, facts, PARAMS))
    thin = with_thin_class(*ARMS_OF_FOLDS, *BASELINES_OF_FOLDS)
    arms = {name: of for name, of in thin.items() if name in dict(ARMS_OF_FOLDS)}
    baselines = {name: of for name, of in thin.items() if name in dict(BASELINES_OF_FOLDS)}
    pages.append(page_of_folds(arms, baselines, BY_TRAIN)[1])
    for written in pages:
        lines = written.splitlines()
        head = next(line for line in lines if "balanced accuracy above chance" in line).split("|")
        row = next(line for line in lines if re.match(r"\| `(lite0 )?probe`", line)).split("|")
        cells = dict(zip([cell.strip() for cell in head], row, strict=True))
        assert NAMED in written
        assert "(no interval)" in cells["balanced accuracy above chance"]
        assert "[" in cells["kappa"] and "[" in cells["quadratic kappa"]


def test_the_page_of_the_seeds_says_what_a_seed_draws():
    judged = tables(("probe", 1.0), ("full", 1.0), repeats=("0", "1"))
    result = compare_repeats(judged, [Question("probe", "full")], ["kappa"], PARAMS)
    facts = {name: {"0": FACTS, "1": FACTS} for name in judged}
    page = seeds_page("made-up images", result, facts, PARAMS)
    assert "drawn by `augment.seed` and are the same for all" in page
    assert "0 of 2" in page and "seed 1" in page


def test_the_page_of_the_networks_has_each_and_their_mean():
    judged = tables(("lite0 probe", 1.0), ("lite1 probe", 1.0), ("all probe", 1.2))
    questions = [Question(name, "lite0 probe") for name in ("lite1 probe", "all probe")]
    result = compare_repeats(judged, questions, ["kappa_quadratic"], PARAMS)
    facts = {name: {"split": FACTS} for name in ("lite0 probe", "lite1 probe")}
    page = architectures_page("made-up images", result, facts, PARAMS)
    assert "| `all probe` | – | – | – |" in page and "12,345 (1.5 %)" in page
    assert as_values(result)["arms"]["all probe"]["kappa"]["value"] > 0


def test_the_page_of_the_background_says_what_is_shown_of_each_set():
    result = compare_repeats(
        tables(("keep", 2.0), ("zero", 0.0)), [Question("zero", "keep")], TESTED, PARAMS
    )
    values = {"strategy": "probe", "preprocess": {"background": "keep"}}
    written = page({"Made up": result}, values, PARAMS)
    lost = result.differences[0]
    assert lost.value < -0.3 and "The default is `keep`" in written
    assert "## Made up" in written and "Differences shown: Made up −1." in written


def test_differences_of_nothing_ask_for_no_count_of_patients_to_be_believed():
    assert patients(1459) == "1,459"
    assert patients(294_498_583) == "100,000 or more"


def test_the_picture_has_a_line_an_arm_and_a_mark_at_the_ceiling():
    result = compare_repeats(tables(("one", 1.0), ("two", 2.0)), [], [], PARAMS)
    figure = forest(result, ["kappa_quadratic", "kappa_quadratic_patient"], "one", ceiling=0.8)
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["one", "two"]
    assert any(line.get_xdata()[0] == 0.8 for line in left.lines)
    assert not any(line.get_xdata()[0] == 0.8 for line in right.lines)
