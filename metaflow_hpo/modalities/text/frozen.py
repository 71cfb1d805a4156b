"""Features of texts that are learned from no class: how often their words and n-grams occur, and random sums of these.

References:
    Weinberger et al. 2009, Feature hashing for large scale multitask learning, arXiv:0902.2206.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metaflow_hpo.modalities.table.rows import mix
from metaflow_hpo.modalities.text.tokens import Keys, Sequences, find_characters, find_ngrams, find_words, join

MAX_CHARACTERS = 1_000
"""Of a text that are looked at."""
WIDTH = 512
"""Sums."""
_SUMS_OF_A_TOKEN = 4
_HIGHEST_BIT = np.uint64(63)


def project(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return random sums of the weights of words, pairs of words and n-grams of characters, `(n, WIDTH)`.

    Token for token the sums are the same whatever the texts; only its weight is how rare it is among them.
    """
    texts = [text[:MAX_CHARACTERS] for text in texts]
    words, characters = find_words(texts), find_characters(texts)
    parts = [find_ngrams(words, 1), find_ngrams(words, 2)]
    parts += [find_ngrams(characters, size, within_words=True) for size in (3, 4)]
    counts, keys = count_tokens(join(parts))
    projected = weigh(counts) @ _draw_signs(keys)
    return np.asarray(projected.toarray(), dtype=np.float32)


def count_tokens(tokens: Sequences) -> tuple[sparse.csr_array, Keys]:
    """Return how often each token is in each text, `(n, V)`, and the keys of the columns, `(V,)` ascending."""
    keys, numbers = np.unique(tokens.keys, return_inverse=True)
    counts = sparse.csr_array(
        (np.ones(len(numbers)), numbers, tokens.starts.copy()), shape=(len(tokens), len(keys)), dtype=np.float64
    )
    counts.sum_duplicates()
    return counts, keys


def weigh(counts: sparse.csr_array, rows: NDArray[np.intp] | None = None) -> sparse.csr_array:
    """Return TF-IDF, `(n, V)`, each row of length 1; counts in logarithms, rarity among `rows` (all, unless given)."""
    known = counts if rows is None else counts[rows]
    texts_with = np.bincount(known.indices, minlength=counts.shape[1])
    rarity = np.log((1 + known.shape[0]) / (1 + texts_with)) + 1
    weights = counts.copy()
    weights.data = (1 + np.log(counts.data)) * rarity[counts.indices]
    lengths = np.sqrt(np.asarray((weights**2).sum(axis=1))).ravel()
    weights.data /= np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(weights.indptr))
    return weights


def _draw_signs(keys: Keys) -> sparse.csr_array:
    """Return to which sums each token is added, and from which it is taken, `(V, WIDTH)`."""
    drawn: Keys = mix(keys[:, None] + np.arange(1, _SUMS_OF_A_TOKEN + 1).astype(np.uint64))
    columns = (drawn % np.uint64(WIDTH)).astype(np.int64)
    signs = np.where(drawn >> _HIGHEST_BIT, 1.0, -1.0) / np.sqrt(_SUMS_OF_A_TOKEN)
    starts = np.arange(len(keys) + 1) * _SUMS_OF_A_TOKEN
    return sparse.csr_array((signs.ravel(), columns.ravel(), starts), shape=(len(keys), WIDTH))
