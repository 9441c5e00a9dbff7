"""The pages of the studies and their picture, written from made-up results."""

import pandas as pd

from mammo.comparison.wording import patients
from studies.architectures.page import architectures_page
from studies.background.run import TESTED, page
from studies.cells.arms import ArmParams
from studies.cells.figure import forest
from studies.cells.params import CrossValidationParams
from studies.cells.repeats import compare_repeats
from studies.cells.wording import as_values
from studies.cross_validation.page import Evidence, cross_validation_page
from studies.seeds.page import seeds_page
from support.made_up import compare_params, predictions

PARAMS = compare_params(draws=100, tested_metrics=["kappa_quadratic"])
FACTS = {
    "trainable_parameters": 12_345, "trainable_percent": 1.5, "status": "healthy",
    "collapsed": False, "kappa": 0.5, "kappa_quadratic": 0.61, "bal_acc_adj": 0.4,
    "max_predicted_share": 0.5, "best_epoch": 3, "epochs": 8, "alerts": 0, "decision": "argmax",
}  # fmt: skip


def tables(*skills, repeats=("0",)):
    return {
        name: {repeat: predictions(name + repeat, skill, 30) for repeat in repeats}
        for name, skill in skills
    }


def test_the_page_of_a_cross_validation_says_what_is_shown_and_by_how_much():
    judged = tables(("probe", 2.0), ("power_0", 0.0), ("both", 2.0), ("histogram", 0.2))
    judged |= tables(("last_block", 1.5))
    asked = [("probe", "histogram"), ("power_0", "probe"), ("last_block", "probe")]
    result = compare_repeats(judged, asked, ["kappa_quadratic"], PARAMS)
    cases = pd.DataFrame({"patient": ["a", "b", "c", "d"], "label": list("ABCD")})
    page = cross_validation_page(
        Evidence(
            subject="made-up images",
            result=result,
            params=CrossValidationParams(
                reference="probe", trained=["last_block"], folds=[0], splits=[0],
                ensembles={"both": ["probe", "power_0"]},
            ),
            compare=PARAMS,
            arms={
                "probe": ArmParams(strategy="probe", set=[]),
                "power_0": ArmParams(strategy="probe", set=["balancing.power=0"]),
            },
            baselines=["histogram"],
            facts={name: {"0-0": FACTS} for name in ("probe", "power_0", "last_block")},
            cases=cases,
            refit=True,
            ceiling={"kappa_quadratic": 0.9},
        )
    )  # fmt: skip
    own = result.arms["probe"]["kappa_quadratic"].value
    assert f"quadratic kappa {own:.2f} by image" in page
    assert f"reference has {own / 0.9:.0%} of it" in page
    assert "Against `histogram` +" in page and ": shown." in page
    assert "Shown to be worse: `power_0`" in page
    assert "`balancing.power=0`" in page and "12,345" in page and "0.61 (3 of 8)" in page
    assert "a head that is solved alone learns from val too" in page
    assert "nan" not in page and "None" not in page


def test_the_page_of_the_seeds_says_what_a_seed_draws():
    judged = tables(("probe", 1.0), ("full", 1.0), repeats=("0", "1"))
    result = compare_repeats(judged, [("probe", "full")], ["kappa"], PARAMS)
    facts = {name: {"0": FACTS, "1": FACTS} for name in judged}
    page = seeds_page("made-up images", result, facts, PARAMS)
    assert "drawn by `augment.seed` and are the same for all" in page
    assert "0 of 2" in page and "seed 1" in page


def test_the_page_of_the_networks_has_each_and_their_mean():
    judged = tables(("lite0 probe", 1.0), ("lite1 probe", 1.0), ("all probe", 1.2))
    asked = [("lite1 probe", "lite0 probe"), ("all probe", "lite0 probe")]
    result = compare_repeats(judged, asked, ["kappa_quadratic"], PARAMS)
    facts = {name: {"split": FACTS} for name in ("lite0 probe", "lite1 probe")}
    page = architectures_page("made-up images", result, facts, PARAMS)
    assert "| `all probe` | – | – | – |" in page and "12,345 (1.5 %)" in page
    assert as_values(result)["arms"]["all probe"]["kappa"]["value"] > 0


def test_the_page_of_the_background_says_what_is_shown_of_each_set():
    result = compare_repeats(
        tables(("keep", 2.0), ("zero", 0.0)), [("zero", "keep")], TESTED, PARAMS
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
