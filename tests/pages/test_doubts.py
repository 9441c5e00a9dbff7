"""Labels worth a second look."""

import numpy as np

from mammo.pages.doubts import doubtful_labels

CLASSES = ["A", "B", "C", "D"]


def sure(labels, share=0.9):
    probabilities = np.full((len(labels), 4), (1 - share) / 3)
    probabilities[np.arange(len(labels)), labels] = share
    return probabilities


def test_a_swapped_label_is_found_and_the_likelier_class_suggested():
    truth = np.arange(80) % 4
    labels = truth.copy()
    labels[10] = 0  # is a C
    table = doubtful_labels(labels, sure(truth), CLASSES)
    assert table["suggested"][10] == "C"
    assert list(np.flatnonzero(table["suggested"] != "")) == [10]
    assert table["quality"].idxmin() == 10


def test_sound_labels_are_left_alone_and_missing_ones_ignored():
    labels = np.arange(80) % 4
    labels[5] = -1
    table = doubtful_labels(labels, sure(np.arange(80) % 4), CLASSES)
    assert (table["suggested"] == "").all() and table["quality"][5] == 1


def test_an_absent_class_is_never_suggested():
    labels = np.arange(60) % 2 + 1
    probabilities = sure(labels)
    probabilities[3] = [0.97, 0.01, 0.01, 0.01]  # looks like an A, but nobody is one
    table = doubtful_labels(labels, probabilities, CLASSES)
    assert not set(table["suggested"]) & {"A", "D"}


def test_one_class_alone_gives_nothing_to_doubt():
    table = doubtful_labels(np.ones(6, int), sure(np.ones(6, int)), CLASSES)
    assert (table["suggested"] == "").all()
