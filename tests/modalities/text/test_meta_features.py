from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.text.meta_features import TEXT_GROUP, hold_out, measure
from metaflow_hpo.modalities.text.modality import TEXT_MODALITY


def task(tmp_path: Path, texts: list[str], labels: list[str]) -> ItemData:
    path = tmp_path / "my.parquet"
    pd.DataFrame({"text": texts, "label": labels}).to_parquet(path)
    return TEXT_MODALITY.read(path, Hints(modality="text"))


def with_items(data: ItemData, texts: list[str]) -> ItemData:
    """Give the training items these texts in turn, and the others none."""
    items = np.full(len(data.items), "", dtype=object)
    training = np.flatnonzero(~data.is_test)
    items[training] = [texts[n % len(texts)] for n in range(len(training))]
    return replace(data, items=items)


@pytest.fixture
def data(tmp_path: Path) -> ItemData:
    texts = [f"{'love it' if n % 2 else 'hate it'} w{n}" for n in range(60)]
    return task(tmp_path, texts, ["pos" if n % 2 else "neg" for n in range(60)])


def test_every_third_item_of_a_class_is_held_out() -> None:
    assert hold_out(np.array([0, 1, 0, 0, 1, 0, 1, 2, 0, 0])).tolist() == [
        False, False, False, True, False, False, True, False, False, True,
    ]  # fmt: skip


def test_values_are_those_computed_by_hand(data: ItemData) -> None:
    measured = measure(with_items(data, ["ab Cd.", "ab 1"]))
    assert measured["log_characters_low"] == pytest.approx(np.log10(5))
    assert measured["log_characters_high"] == pytest.approx(np.log10(7))
    assert measured["log_words_high"] == pytest.approx(np.log10(4))  # ab, cd, .
    assert measured["characters_per_word"] == pytest.approx((5 + 3) / (3 + 2))
    assert measured["log_types"] == pytest.approx(np.log10(1 + 4))
    train = len(data.train_items)
    assert measured["types_per_token"] == pytest.approx(4 / (2.5 * train))
    assert measured["once_fraction"] == 0
    assert measured["unseen_words"] == 0
    assert measured["log_signs"] == pytest.approx(np.log10(1 + 6))
    assert measured["digit_fraction"] == pytest.approx(1 / 8)
    assert measured["symbol_fraction"] == pytest.approx(1 / 8)
    assert measured["upper_fraction"] == pytest.approx(1 / 6)
    assert measured["non_latin_fraction"] == 0


def test_words_that_tell_the_class_are_found(data: ItemData) -> None:
    measured = measure(data)
    assert measured["naive_bayes_words"] == 1
    assert measured["naive_bayes_characters"] == 1
    assert measured["pairs_minus_words"] == 0
    assert measured["unseen_words"] == pytest.approx(1 / 3)  # w7 and the like are in one text each
    assert measured["class_overlap"] == pytest.approx(1 / 3)  # `it`, of three words


def test_words_that_tell_nothing_are_as_good_as_guessing(data: ItemData) -> None:
    measured = measure(with_items(data, ["always the same"]))
    assert measured["naive_bayes_words"] == 0.5
    assert measured["class_overlap"] == pytest.approx(1)


def test_scripts_are_told(data: ItemData) -> None:
    measured = measure(with_items(data, ["\u043c\u0438\u0440 ab", "\u0939\u093f\u0928"]))
    # Three Cyrillic letters, two Latin ones, two Devanagari letters and a vowel sign, which is none.
    assert measured["non_latin_fraction"] == pytest.approx(5 / 7)
    assert measured["symbol_fraction"] == 0


def test_frequencies_of_zipf_have_a_slope_of_minus_one(data: ItemData) -> None:
    text = " ".join(" ".join([f"x{rank}"] * (60 // rank)) for rank in (1, 2, 3, 4, 5, 6))
    assert measure(with_items(data, [text]))["zipf_slope"] == pytest.approx(-1)


@pytest.mark.parametrize("texts", [[""], ["!?"], ["x"], ["\U0001f600"], ["a" * 9_000]])
def test_odd_texts_have_finite_meta_features(data: ItemData, texts: list[str]) -> None:
    assert all(np.isfinite(list(TEXT_GROUP.describe(with_items(data, texts)).values())))


def test_test_items_are_not_looked_at(data: ItemData) -> None:
    items = data.items.copy()
    items[data.is_test] = "something else entirely"
    assert measure(replace(data, items=items)) == measure(data)
