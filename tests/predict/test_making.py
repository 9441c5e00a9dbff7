"""What a bundle is made from: cross-fitting, conformal scores, origin, card and terms."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mammo import paths
from mammo.embedding.features import Features
from mammo.errors import UserError
from mammo.predict.card import licence_text, model_card
from mammo.predict.cross_fitting import Stored, cross_fit, cross_fit_all, load_solving
from mammo.predict.making import (
    _check_answers,
    conformal_facts,
    handed_on,
    origin_of,
    set_facts,
)
from mammo.storage.files import write_json, write_table
from mammo.storage.tensors import Tensors, write_shards
from support.bundles import make_model, sections
from support.made_up import predictions
from support.pipeline_copy import ROOT

pytestmark = pytest.mark.slow

CLASSES = ["A", "B", "C", "D"]


@pytest.fixture
def solving(monkeypatch):
    monkeypatch.chdir(ROOT)
    return load_solving()


def features_of(folder, values):
    """Store one view of made-up features: (n, F)."""
    folder.mkdir()
    keys = [f"k{n:03d}" for n in range(len(values))]
    write_shards(iter(values[:, None].astype(np.float32)), keys, folder, 10**6)
    width = values.shape[1]
    return Features(Tensors(folder), np.arange(width), (width,))


def cases_of(labels):
    """Four images a patient."""
    n = len(labels)
    return pd.DataFrame(
        {
            "key": [f"k{i:03d}" for i in range(n)],
            "patient": [f"p{i // 4:02d}" for i in range(n)],
            "label": [CLASSES[k] for k in labels],
        }
    )


def test_a_bundle_names_no_scheduler_of_the_machine_that_made_it():
    kept = handed_on(sections() | {"dataset": {"key_file": "dataset.key"}})
    assert set(kept) == set(sections())
    busy = sections()
    busy["preprocess"]["scheduler"] = "tcp://10.1.2.3:8786"
    assert handed_on(busy) == kept and kept["preprocess"]["scheduler"] is None


def test_cross_fitted_answers_know_what_features_say(tmp_path, solving):
    labels = np.repeat(np.arange(40) % 4, 4)
    random = np.random.default_rng(0)
    values = labels[:, None] + 0.3 * random.normal(size=(160, 6))
    fitted = cross_fit(solving, features_of(tmp_path / "f", values), cases_of(labels))
    assert fitted.probabilities.shape == (160, 4)
    assert np.allclose(fitted.probabilities.sum(axis=1), 1)
    assert (fitted.probabilities.argmax(axis=1) == labels).mean() > 0.9


def test_cross_fitted_answers_have_not_seen_the_patient(tmp_path, solving):
    """Features that name the patient and nothing else: seen once, they would tell all."""
    labels = np.repeat(np.random.default_rng(1).integers(0, 4, 40), 4)
    values = np.repeat(np.eye(40), 4, axis=0) * 10
    fitted = cross_fit(solving, features_of(tmp_path / "f", values), cases_of(labels))
    assert (fitted.probabilities.argmax(axis=1) == labels).mean() < 0.5


def test_cross_fitted_heads_weigh_blocks_as_training_does(tmp_path, solving):
    labels = np.repeat(np.arange(40) % 4, 4)
    values = labels[:, None] + np.random.default_rng(0).normal(size=(160, 9))
    features = features_of(tmp_path / "f", values)
    probabilities = []
    for widths in ((9,), (1, 8)):
        given = replace(features, widths=widths)
        answers = cross_fit(solving, given, cases_of(labels)).probabilities
        path = solving.path(given.views(np.arange(160)), labels, np.arange(160) // 4, widths)
        assert answers == pytest.approx(np.exp(path.steps[path.chosen].cross_fitted))
        probabilities.append(answers)
    assert np.abs(probabilities[0] - probabilities[1]).max() > 0.05


def test_an_ensemble_averages_its_members_cross_fitted_answers(tmp_path, solving):
    """Each reads columns of its own, of its own folder."""
    labels = np.repeat(np.arange(40) % 4, 4)
    random = np.random.default_rng(0)
    widths = {"features3": 40, "features5": 112, "features7": 192, "features8": 320}
    folders, alone, models = [], [], []
    for name, at in (("probe", 9), ("last_two", 7)):
        folder = tmp_path / name
        folder.mkdir()
        values = random.normal(size=(160, sum(widths.values())))
        values[:, [0, -1]] += labels[:, None]
        features = features_of(folder / paths.POOLED, values)
        write_json({"blocks": widths}, folder / paths.PLAN)
        models.append(make_model(tmp_path / "weights", at=at, name=name))
        folders.append(folder)
        read = tuple(widths[block] for block in models[-1].facts["reads"])
        columns = np.arange(sum(read)) + (0 if at == 9 else 344)
        own = Features(features.pooled, columns, read)
        alone.append(cross_fit(solving, own, cases_of(labels)).probabilities)
    stored = Stored(folders, tmp_path)
    both = cross_fit_all(models, solving, stored, cases_of(labels), "as_trained")
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    np.testing.assert_allclose(both.probabilities, (alone[0] + alone[1]) / 2)


def test_scores_come_from_val_where_blocks_were_trained():
    val = np.full((2, 4), 0.25), np.array([0, 1]), np.array(["p", "q"])
    facts = conformal_facts(None, CLASSES, val)
    assert facts["scores_from"].startswith("val") and facts["scores"]["A"] == [[0.75]]


def test_an_origin_tells_makers_sizes_and_grey_scales_of_train_alone(tmp_path):
    files = pd.DataFrame(
        {"key": ["a", "b", "c"], "manufacturer": ["M", "N", "Other"], "rows": ["10", "30", "99"],
         "columns": ["5", "7", "99"]}
    )  # fmt: skip
    facts = pd.DataFrame({"key": ["a", "b", "c"], "voi": ["lut", "window", "none"]})
    write_table(facts, tmp_path / "facts.csv")
    origin = origin_of(files, ["a", "b"], tmp_path)
    assert (origin.makers, origin.grey_scales) == (["M", "N"], ["lut", "window"])
    assert (origin.rows, origin.columns) == ((10, 30), (5, 7))


def test_a_network_that_answers_otherwise_than_evaluate_is_refused():
    table = predictions("probe", 2.0, n_patients=9)
    val = table[table["split"] == "val"]
    answers = val[[f"probability_{c}" for c in CLASSES]].to_numpy()
    _check_answers(val, answers, table, CLASSES)
    with pytest.raises(UserError, match="probabilities that differ by up to"):
        _check_answers(val, answers[:, ::-1], table, CLASSES)


def card_facts(**data):
    """What model.json holds, as far as the card shows it."""
    table = predictions("probe", 2.0)
    scores = {c: [[0.2], [0.4]] for c in CLASSES}
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    counts = {"images": 4, "patients": 2, "images_by_class": dict.fromkeys(CLASSES, 1),
              "patients_by_class": dict.fromkeys(CLASSES, 1)}  # fmt: skip
    return {
        "strategy": "probe", "classes": CLASSES, "decision": "median", "patient_rule": "denser",
        "temperature": 1.04,
        "params": {"evaluate": {"prior": "uniform"}},
        "data": {"name": "csv", "synthetic": True, "splits": {"train": counts},
                 "fitted_on": ["train"], **data},
        "origin": {"makers": ["M", ""], "grey_scales": ["lut"], "rows": [1, 2], "columns": [3, 4]},
        "figures": {"images": 9, "patients": 3, "status": "healthy", "confidence": 0.95,
                    "thin_classes": {"A": 2}, "image": {"accuracy": estimate},
                    "patient": {"accuracy": {**estimate, "low": None}}},
        "conformal": {"scores_from": "here", **set_facts(scores, table, CLASSES, 0.9)},
        "members": [{"strategy": "probe", "arch": "efficientnet_lite0", "counts": [1, 5, 10, 4],
                     "prior": [0.1, 0.2, 0.4, 0.3]}],
    }  # fmt: skip


def test_the_card_says_what_the_facts_say():
    card = model_card(card_facts())
    for words in (
        "Not for clinical use", "synthetic", "0.500 (0.400 to 0.600)", "0.500 (no interval)",
        "none for what rests on a class of fewer than 5 patients: A (2).",
        "rule `median`", "denser breast", "Makers in train: M, not stated",
        "temperature 1.04", "Fewer than 9 patients of class A, B, C, D",
    ):  # fmt: skip
        assert words in card, words
    assert "synthetic" not in model_card(card_facts(synthetic=False))
    assert "head.refit" not in card
    refitted = model_card(card_facts(fitted_on=["train", "val"]))
    assert "`head.refit`" in refitted and "Makers in train and val: M" in refitted
    assert "no temperature suits" not in card
    assert "no temperature suits" in model_card({**card_facts(), "temperature": 20.0})


def test_the_card_of_an_ensemble_names_its_members_and_whose_features_judge():
    facts = card_facts()
    assert "the mean of theirs" not in model_card(facts)
    other = {**facts["members"][0], "strategy": "b", "arch": "x"}
    card = model_card({**facts, "members": [*facts["members"], other]})
    for words in ("`b` (x)", "probabilities are the mean of theirs", "features of `probe`"):
        assert words in card, words


def test_the_card_states_the_class_shares_that_probabilities_assume():
    """Those of the balanced training aren't those of the images: 1 of 20 is an A."""
    facts = card_facts()
    for prior, shares in (
        ("as_trained", "A 10%, B 20%, C 40%, D 30%"),
        ("train", "A 5%, B 25%, C 50%, D 20%"),
        ("uniform", "A 25%, B 25%, C 25%, D 25%"),
    ):
        card = model_card({**facts, "params": {"evaluate": {"prior": prior}}})
        assert f"assume the class shares {shares};" in card
    (member,) = facts["members"]
    other = {**member, "strategy": "b", "prior": [0.25] * 4}
    both = {**facts, "members": [member, other], "params": {"evaluate": {"prior": "as_trained"}}}
    assert "D 30% (`probe`); A 25%, B 25%, C 25%, D 25% (`b`)" in model_card(both)


def test_the_facts_are_plain_json():
    assert json.loads(json.dumps(card_facts(), allow_nan=False))["strategy"] == "probe"


@pytest.mark.parametrize(
    ("provenance", "words"),
    [
        ({"weights": "packaged", "source": "a.pth", "licence": "Apache-2.0", "package": "p",
          "package_version": "1"}, "Licence: Apache-2.0"),
        ({"weights": "packaged", "source": "a.pth"}, "non-commercial research"),
        ({"weights": "imagenet", "source": "V2"}, "non-commercial research"),
        ({"weights": "file", "source": "own.safetensors"}, "the user's to state"),
        ({"weights": "random", "seed": 3}, "random numbers (seed 3)"),
    ],
)  # fmt: skip
def test_the_terms_of_the_weights_are_stated(provenance, words):
    assert words in licence_text({"arch": "x", "sha256": "0" * 64, **provenance})
