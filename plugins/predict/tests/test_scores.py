import math

import pytest

from ft_plugin_predict.scores import bleu_4, exact_match, rouge_l, rouge_n, scores, words

PAIRS = [
    ("the cat sat on the mat", "the cat sat on the mat"),
    ("the cat sat on the mat", "a cat lay on the red mat today"),
    ("one two", "one two three four five six"),
    ("one three two four one", "one two three four"),
    ("completely different", "nothing in common"),
]


def test_words_are_runs_of_letters_and_single_ideographs():
    assert words("Hello, world 42!") == ["Hello", ",", "world", "42", "!"]
    assert words("\u4f60\u597dok \u3042\u3044") == ["\u4f60", "\u597d", "ok", "\u3042", "\u3044"]
    assert words(" \n") == []


@pytest.mark.parametrize(("predicted", "wanted"), PAIRS)
def test_bleu_is_that_of_nltk(predicted, wanted):
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    smooth = nltk.SmoothingFunction().method3
    expected = nltk.sentence_bleu([wanted.split()], predicted.split(), smoothing_function=smooth)
    assert bleu_4(predicted.split(), wanted.split()) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("predicted", "wanted"), PAIRS)
def test_rouge_is_that_of_googles_package(predicted, wanted):
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    expected = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(wanted, predicted)
    one, other = predicted.split(), wanted.split()
    assert rouge_n(one, other, 1) == pytest.approx(expected["rouge1"].fmeasure, abs=1e-9)
    assert rouge_n(one, other, 2) == pytest.approx(expected["rouge2"].fmeasure, abs=1e-9)
    assert rouge_l(one, other) == pytest.approx(expected["rougeL"].fmeasure, abs=1e-9)


def test_bleu_by_hand():
    # 5 of 6 words, 2 of 5 pairs ("the cat", "the mat"), no triple (1/2 of 4), no four words (1/4 of 3); 7 are wanted.
    predicted, wanted = ["the", "cat", "sat", "at", "the", "mat"], ["on", "the", "cat", "lay", "by", "the", "mat"]
    precisions = (4 / 6, 2 / 5, 0.5 / 4, 0.25 / 3)
    expected = math.exp(1 - 7 / 6) * math.prod(precisions) ** 0.25
    assert bleu_4(predicted, wanted) == pytest.approx(expected, abs=1e-12)


def test_rouge_by_hand():
    predicted, wanted = ["a", "b", "c", "d"], ["a", "c", "b", "d", "e"]
    assert rouge_n(predicted, wanted, 1) == pytest.approx(8 / 9)
    assert rouge_n(predicted, wanted, 2) == 0
    assert rouge_l(predicted, wanted) == pytest.approx(6 / 9)


def test_equal_texts_score_1_and_empty_ones_0():
    assert set(scores("the lazy dog sleeps", " the lazy dog sleeps\n").values()) == {1.0}
    assert set(scores("", "the lazy dog").values()) == {0.0}
    assert exact_match("The fox", "the fox") == 0.0
