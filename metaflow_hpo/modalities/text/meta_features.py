"""Meta-features of texts, from training items only: how long they are, what they are made of, and what tells classes.

References:
    Zipf 1949, Human behavior and the principle of least effort.
    Lewis 1998, Naive (Bayes) at forty.
"""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.meta_features import MetaFeature, MetaFeatureGroup, Role
from metaflow_hpo.modalities.text.frozen import MAX_CHARACTERS, count_tokens, weigh
from metaflow_hpo.modalities.text.tokens import Sequences, find_characters, find_ngrams, find_words, join
from metaflow_hpo.task import TEXT

MAX_ITEMS = 2_000
"""Training items that are looked at: their order is random but fixed."""
_ZIPF_RANKS = 1_000
_SMOOTHING = 0.1
_HELD_OUT = 3
"""One of as many training items of each class is held out."""

Target = NDArray[np.int64]

_SCORE = "balanced accuracy on held-out training items"
_LANDMARKS = {
    "naive_bayes_words": f"naive Bayes on TF-IDF of words: {_SCORE}",
    "naive_bayes_pairs": f"the same on words and pairs of words: {_SCORE}",
    "naive_bayes_characters": f"the same on n-grams of 3 to 5 characters: {_SCORE}",
}
_PLAIN = {
    "log_characters_low": "log10 of 1 + the characters of a text, 10 % quantile",
    "log_characters_middle": "the same, median",
    "log_characters_high": "the same, 90 % quantile",
    "log_words_middle": "log10 of 1 + the words of a text, median",
    "log_words_high": "the same, 90 % quantile",
    "characters_per_word": "mean characters of a word",
    "log_types": "log10 of 1 + the different words",
    "types_per_token": "different words per word",
    "once_fraction": "share of the different words that occur once",
    "unseen_words": "share of the words of held-out training items that occur in none of the others",
    "zipf_slope": "slope of log frequency over log rank of the most frequent words; 0 for fewer than 3 words",
    "class_overlap": "mean over classes of the common mass of their words and those of all others, in [0, 1]",
    "log_signs": "log10 of 1 + the different characters",
    "non_latin_fraction": "share of letters that are not Latin",
    "digit_fraction": "share of digits among what is not blank",
    "symbol_fraction": "share of punctuation, symbols and emoji among what is not blank",
    "upper_fraction": "share of upper-case letters among letters",
    "pairs_minus_words": "landmark naive_bayes_pairs minus naive_bayes_words",
    "characters_minus_words": "landmark naive_bayes_characters minus naive_bayes_words",
}


def measure(data: ItemData) -> dict[str, float]:
    """Compute the meta-features of a task of texts; its test items are not looked at."""
    texts = [text[:MAX_CHARACTERS] for text in data.train_items[:MAX_ITEMS].tolist()]
    target = np.unique(data.train_target[:MAX_ITEMS], return_inverse=True)[1].astype(np.int64)
    words, characters = find_words(texts), find_characters(texts)
    held_out = hold_out(target)
    counts = count_tokens(words)[0]
    measured = {
        **_describe_lengths(texts, words),
        **_describe_words(counts),
        "unseen_words": _share_unseen(counts, held_out),
        "class_overlap": _overlap(counts, target),
        **_describe_signs("".join(texts)),
        **_measure_naive_bayes(words, characters, target, held_out),
    }
    return {name: float(measured[name]) for name in TEXT_GROUP.features}


def hold_out(target: Target) -> NDArray[np.bool_]:
    """Hold every third item of each class out; a class of one or two is all learned from."""
    by_class = np.argsort(target, kind="stable")
    starts = np.searchsorted(target[by_class], target[by_class])
    held_out = np.zeros(len(target), dtype=bool)
    held_out[by_class] = (np.arange(len(target)) - starts) % _HELD_OUT == _HELD_OUT - 1
    return held_out


def _describe_lengths(texts: list[str], words: Sequences) -> dict[str, float]:
    lengths = np.log10(1 + np.array([len(text) for text in texts]))
    low, middle, high = np.quantile(lengths, [0.1, 0.5, 0.9])
    words_middle, words_high = np.quantile(np.log10(1 + words.lengths), [0.5, 0.9])
    signs = sum(len("".join(text.split())) for text in texts)
    return {
        "log_characters_low": low,
        "log_characters_middle": middle,
        "log_characters_high": high,
        "log_words_middle": words_middle,
        "log_words_high": words_high,
        "characters_per_word": signs / max(len(words.keys), 1),
    }


def _describe_words(counts: sparse.csr_array) -> dict[str, float]:
    frequencies = np.sort(np.asarray(counts.sum(axis=0)).ravel())[::-1]
    total, types = frequencies.sum(), len(frequencies)
    top = frequencies[:_ZIPF_RANKS]
    slope = np.polyfit(np.log(np.arange(1, len(top) + 1)), np.log(top), 1)[0] if len(top) > 2 else 0.0
    return {
        "log_types": np.log10(1 + types),
        "types_per_token": types / max(total, 1),
        "once_fraction": np.count_nonzero(frequencies == 1) / max(types, 1),
        "zipf_slope": slope,
    }


def _share_unseen(counts: sparse.csr_array, held_out: NDArray[np.bool_]) -> float:
    known = np.asarray(counts[np.flatnonzero(~held_out)].sum(axis=0)).ravel() > 0
    asked = np.asarray(counts[np.flatnonzero(held_out)].sum(axis=0)).ravel()
    return float(asked[~known].sum() / max(asked.sum(), 1))


def _overlap(counts: sparse.csr_array, target: Target) -> float:
    """Return the mean over classes of the sum over words of the smaller share: the class's, or that of all others."""
    of_class = _sum_by_class(counts, target)  # (classes, V)
    others = of_class.sum(axis=0) - of_class
    mine, theirs = (part / np.maximum(part.sum(axis=1, keepdims=True), 1) for part in (of_class, others))
    return float(np.minimum(mine, theirs).sum(axis=1).mean())


def _sum_by_class(values: sparse.csr_array, target: Target) -> NDArray[np.float64]:
    count = int(target.max(initial=0)) + 1
    members = sparse.csr_array((np.ones(len(target)), (target, np.arange(len(target)))), shape=(count, len(target)))
    return np.asarray((members @ values).toarray())


def _describe_signs(text: str) -> dict[str, float]:
    """Describe the characters of all texts, blanks left out."""
    signs, counts = np.unique(np.array(list("".join(text.split())), dtype=str), return_counts=True)
    kinds = np.array([_kind(sign) for sign in signs.tolist()], dtype=str)
    total = max(int(counts.sum()), 1)
    latin, other, digit, symbol = (int(counts[kinds == kind].sum()) for kind in ("latin", "other", "digit", "symbol"))
    is_upper = np.array([sign.isupper() for sign in signs.tolist()], dtype=bool)
    letters = max(latin + other, 1)
    return {
        "log_signs": np.log10(1 + len(signs)),
        "non_latin_fraction": other / letters,
        "digit_fraction": digit / total,
        "symbol_fraction": symbol / total,
        "upper_fraction": int(counts[is_upper].sum()) / letters,
    }


@cache
def _kind(sign: str) -> str:
    if sign.isdigit():
        return "digit"
    if not sign.isalpha():
        return "mark" if unicodedata.category(sign)[0] == "M" else "symbol"
    return "latin" if unicodedata.name(sign, "").startswith("LATIN") else "other"


def _measure_naive_bayes(
    words: Sequences, characters: Sequences, target: Target, held_out: NDArray[np.bool_]
) -> dict[str, float]:
    of_words, of_pairs = (find_ngrams(words, size) for size in (1, 2))
    of_characters = [find_ngrams(characters, size, within_words=True) for size in (3, 4, 5)]
    scores = [
        _score_naive_bayes(count_tokens(tokens)[0], target, held_out)
        for tokens in (of_words, join([of_words, of_pairs]), join(of_characters))
    ]
    measured = dict(zip(_LANDMARKS, scores, strict=True))
    return measured | {"pairs_minus_words": scores[1] - scores[0], "characters_minus_words": scores[2] - scores[0]}


def _score_naive_bayes(counts: sparse.csr_array, target: Target, held_out: NDArray[np.bool_]) -> float:
    """Return balanced accuracy on the items that are held out; classes count alike beforehand."""
    learned, asked = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    classes = int(target.max(initial=0)) + 1
    if not len(asked) or counts.shape[1] == 0:
        return 1 / classes
    weights = weigh(counts, learned)
    of_class = _sum_by_class(weights[learned], target[learned]) + _SMOOTHING
    chances = np.log(of_class / of_class.sum(axis=1, keepdims=True))  # (classes, V)
    found = np.asarray(weights[asked] @ chances.T).argmax(axis=1)
    there = np.bincount(target[asked], minlength=classes)
    right = np.bincount(target[asked][found == target[asked]], minlength=classes)
    return float((right[there > 0] / there[there > 0]).mean())


def _role(name: str) -> Role:
    return "landmark" if name in _LANDMARKS else "plain"


TEXT_GROUP = MetaFeatureGroup(
    name="text",
    version=1,
    features={name: MetaFeature(text, _role(name)) for name, text in (_PLAIN | _LANDMARKS).items()},
    modalities=(TEXT,),
    measure=measure,
)
"""What describes texts beside what describes all items."""
