import subprocess
import sys

import numpy as np
import pytest

from metaflow_hpo.modalities.text.tokens import (
    Sequences,
    find_characters,
    find_ngrams,
    find_words,
    join,
    split_words,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop! I\u2019m here", ["don't", "stop", "!", "i'm", "here"]),
        ("3.5% of_it", ["3", ".", "5", "%", "of_it"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u0915\u0940"]),
        ("\u4eca\u65e5 good", ["\u4eca", "\u65e5", "good"]),
        ("\u0e2a\u0e27\u0e31", ["\u0e2a", "\u0e27", "\u0e31"]),
        ("\ud55c\uad6d\uc5b4 \ubb38\uc7a5", ["\ud55c\uad6d\uc5b4", "\ubb38\uc7a5"]),
        (
            "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
            ["\u043f\u0440\u0438\u0432\u0435\u0442", ",", "\u043c\u0438\u0440"],
        ),
        ("\U0001f600\U0001f44d\ufe0f", ["\U0001f600", "\U0001f44d"]),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", ["\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_words_of_any_script(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_a_word_has_one_key_in_whatever_text_and_case() -> None:
    words = find_words(["Good film", "", "good"])
    assert words.starts.tolist() == [0, 2, 2, 3]
    assert words.lengths.tolist() == [2, 0, 1]
    assert words.owners.tolist() == [0, 0, 2]
    assert words.keys[0] == words.keys[2] != words.keys[1]


def test_keys_are_the_same_in_another_process() -> None:
    code = (
        "from metaflow_hpo.modalities.text.tokens import find_words; print(find_words(['caf\\u00e9 x']).keys.tolist())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(find_words(["caf\u00e9 x"]).keys.tolist())


def test_characters_are_squeezed_and_begin_and_end_with_a_blank() -> None:
    characters = find_characters(["A  b\n", ""])
    assert characters.keys.tolist() == [ord(" "), ord("a"), ord(" "), ord("b"), ord(" "), ord(" "), ord(" ")]
    assert characters.starts.tolist() == [0, 5, 7]


def test_ngrams_never_join_two_texts() -> None:
    words = find_words(["a b c", "b c", "a"])
    pairs = find_ngrams(words, 2)
    assert pairs.lengths.tolist() == [2, 1, 0]
    assert pairs.keys[1] == pairs.keys[2]
    assert len(set(pairs.keys.tolist())) == 2


def test_ngrams_tell_order_and_length() -> None:
    keys = [
        find_ngrams(find_words([text]), size).keys[0] for text, size in (("a b", 2), ("b a", 2), ("a a", 2), ("a", 1))
    ]
    assert len(set(keys)) == 4


def test_ngrams_within_words_have_no_blank_in_their_middle() -> None:
    characters = find_characters(["ab c"])  # _ab_c_
    assert len(find_ngrams(characters, 3).keys) == 4
    assert len(find_ngrams(characters, 3, within_words=True).keys) == 3  # not b_c
    assert len(find_ngrams(characters, 4, within_words=True).keys) == 1  # _ab_


def test_parts_are_joined_text_by_text() -> None:
    one = Sequences(np.array([1, 2, 3], np.uint64), np.array([0, 2, 3]))
    other = Sequences(np.array([7, 8], np.uint64), np.array([0, 0, 2]))
    joined = join([one, other])
    assert joined.keys.tolist() == [1, 2, 3, 7, 8]
    assert joined.starts.tolist() == [0, 2, 5]


def test_no_texts_have_no_tokens() -> None:
    assert len(find_words([])) == 0
    assert len(find_ngrams(find_characters([]), 3)) == 0
