import numpy as np
import pytest

from metaflow_hpo.modalities.text.frozen import WIDTH, count_tokens, project, weigh
from metaflow_hpo.modalities.text.tokens import find_words


def test_tokens_are_counted_text_by_text() -> None:
    words = find_words(["a b a", "", "b"])
    counts, keys = count_tokens(words)
    a, b = (int(np.flatnonzero(keys == find_words([word]).keys[0])[0]) for word in "ab")
    assert counts.toarray()[:, [a, b]].tolist() == [[2, 1], [0, 0], [0, 1]]
    assert words.starts.tolist() == [0, 3, 3, 4]


def test_weights_are_tf_idf_of_length_one() -> None:
    counts, keys = count_tokens(find_words(["a b a", "b"]))
    a = int(np.flatnonzero(keys == find_words(["a"]).keys[0])[0])
    of_a, of_b = (1 + np.log(2)) * (np.log(3 / 2) + 1), 1.0
    expected = np.array([of_a, of_b]) / np.hypot(of_a, of_b)
    weights = weigh(counts).toarray()
    assert weights[0, [a, 1 - a]] == pytest.approx(expected)
    assert weights[1, [a, 1 - a]] == pytest.approx([0, 1])


def test_rarity_is_that_among_the_texts_given() -> None:
    counts, keys = count_tokens(find_words(["a", "a b", "b"]))
    a = int(np.flatnonzero(keys == find_words(["a"]).keys[0])[0])
    weights = weigh(counts, np.array([0])).toarray()[1]
    assert weights[a] / weights[1 - a] == pytest.approx(1 / (np.log(2) + 1))


def test_alike_texts_are_near_and_others_far() -> None:
    x = project(["the film was very good", "The film was good!", "completely unrelated sentence here", ""])
    assert x.shape == (4, WIDTH)
    assert x.dtype == np.float32
    alike = x @ x.T
    assert alike[0, 1] > 0.5
    assert abs(alike[0, 2]) < 0.3
    assert alike[0, 0] == pytest.approx(1, abs=0.2)
    assert not x[3].any()


def test_no_words_at_all_have_no_features() -> None:
    assert not project(["", " "]).any()
