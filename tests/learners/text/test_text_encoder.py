import numpy as np
import pytest

from metaflow_hpo.learners.text.encoder import FIRST, MAX_BAG, PADDING, UNKNOWN, Reading, TextEncoder
from metaflow_hpo.learners.text.learner import TextLearner
from metaflow_hpo.modalities.text.tokens import find_words

TEXTS = np.array(["a b a c", "a b", "a", ""], dtype=object)


def key(word: str) -> int:
    return int(find_words([word]).keys[0])


def number(encoder: TextEncoder, word: str) -> int:
    return FIRST + int(np.flatnonzero(encoder.keys == key(word))[0])


def test_words_in_order_become_numbers_padded_at_the_end() -> None:
    encoder = TextEncoder.fit(TEXTS.tolist(), Reading(1, 0, 8), 100)
    a, b, c = (number(encoder, word) for word in "abc")
    assert encoder.encode(TEXTS).tolist() == [
        [a, b, a, c],
        [a, b, PADDING, PADDING],
        [a, PADDING, PADDING, PADDING],
        [PADDING] * 4,
    ]


def test_a_text_is_cut_to_its_length_and_new_words_are_unknown() -> None:
    encoder = TextEncoder.fit(TEXTS.tolist(), Reading(1, 0, 2), 100)
    assert encoder.encode(np.array(["new a a", "b"], dtype=object)).tolist() == [
        [UNKNOWN, number(encoder, "a")],
        [number(encoder, "b"), PADDING],
    ]


def test_the_words_of_most_texts_are_kept() -> None:
    encoder = TextEncoder.fit(TEXTS.tolist(), Reading(1, 0, 4), 2)
    assert set(encoder.keys.tolist()) == {key("a"), key("b")}
    assert encoder.size == FIRST + 2


def test_weights_are_inverse_document_frequencies() -> None:
    encoder = TextEncoder.fit(TEXTS.tolist(), Reading(1, 0, 4), 100)
    weights = {word: encoder.weights[number(encoder, word) - FIRST] for word in "abc"}
    assert weights == pytest.approx({"a": np.log(5 / 4) + 1, "b": np.log(5 / 3) + 1, "c": np.log(5 / 2) + 1})


def test_a_bag_holds_each_known_token_once_and_the_rarest_first() -> None:
    encoder = TextEncoder.fit(TEXTS.tolist(), Reading(1, 0, 0), 3)
    rows = encoder.encode(np.array(["a a new b c", ""], dtype=object))
    # Runs of one word have keys of their own; `a` is in three texts, `b` in two, `c` in one.
    order = [FIRST + int(at) for at in np.argsort(-encoder.weights, kind="stable")]
    assert rows.tolist() == [order, [PADDING] * 3]


def test_a_bag_of_ngrams_tells_the_order_of_words() -> None:
    encoder = TextEncoder.fit(["a b", "b a"], Reading(2, 0, 0), 100)
    one, other = encoder.encode(np.array(["a b", "b a"], dtype=object)).tolist()
    assert len(one) == 3
    assert len(set(one) & set(other)) == 2


def test_ngrams_of_words_and_of_characters_are_told_apart() -> None:
    encoder = TextEncoder.fit(["ab"], Reading(1, 4, 0), 100)
    assert sorted(encoder.kinds.tolist()) == [0, 1, 1, 1, 1, 1, 1]  # ab; _a ab b_ _ab ab_ _ab_
    assert TextEncoder.fit(["ab ab"], Reading(2, 0, 0), 100).kinds.tolist() == [0, 0]


def test_a_long_document_fills_a_bounded_row() -> None:
    text = " ".join(f"w{n}" for n in range(200_000))
    encoder = TextEncoder.fit([text], Reading(3, 6, 0), 32_000)
    assert encoder.encode(np.array([text], dtype=object)).shape[1] <= MAX_BAG


def test_texts_without_a_word_give_rows_of_nothing() -> None:
    for reading in (Reading(1, 0, 0), Reading(1, 0, 8)):
        encoder = TextEncoder.fit(["", ""], reading, 100)
        assert encoder.size == FIRST
        assert not encoder.encode(np.array(["", " "], dtype=object)).any()
    assert TextEncoder.fit(["", ""], Reading(1, 0, 0), 9).encode(np.array(["x"], dtype=object)).tolist() == [[PADDING]]


def test_what_is_kept_makes_it_again() -> None:
    encoder = TextEncoder.fit(TEXTS.tolist(), Reading(2, 3, 0), 50)
    again = TextLearner().read_encoder(*encoder.to_state())
    assert again.reading == encoder.reading
    assert again.encode(TEXTS).tolist() == encoder.encode(TEXTS).tolist()
