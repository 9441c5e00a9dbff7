"""A small part of the corpus of tests/support/fuzz.py, whose whole is run by `make fuzz`."""

import dataclasses

import pytest

from support import fuzz

pytestmark = pytest.mark.slow


def test_no_damaged_file_of_a_sample_decodes_to_wrong_pixels():
    corpus = fuzz.cases()[::23]
    results = dict(fuzz.run(corpus, processes=2))
    assert len(results) == len(corpus) >= 40
    wrong = [case for case, verdict in results.items() if verdict == "wrong"]
    assert [case for case in wrong if not case.payload] == []
    refused = sum(verdict not in ("same", "wrong") for verdict in results.values())
    assert refused > len(corpus) / 2


def test_the_corpus_is_large_and_mostly_detectable():
    corpus = fuzz.cases()
    assert len(corpus) >= 1000
    assert sum(case.payload for case in corpus) <= 0.3 * len(corpus)


def test_the_verdict_notices_other_pixels(monkeypatch):
    case = next(c for c in fuzz.cases() if c.family == "preamble")
    assert fuzz.judge(vars(case))[0]["verdict"] == "same"  # and the references are kept
    original = fuzz.codecs.decode

    def other(source, target_px):
        decoded = original(source, target_px)
        return dataclasses.replace(decoded, pixels=decoded.pixels ^ 1)

    monkeypatch.setattr(fuzz.codecs, "decode", other)
    assert fuzz.judge(vars(case))[0]["verdict"] == "wrong"
