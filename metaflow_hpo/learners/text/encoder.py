"""What is learned from training texts before the network: a vocabulary, by which texts become rows of numbers.

The tokens of a row are words or characters in their order for the encoders that read, and words and n-grams without
an order for the bag. They are known by 64-bit keys, so that nothing but numbers is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.learners.networks.encoder import Encoder
from metaflow_hpo.modalities.text.tokens import Sequences, find_characters, find_ngrams, find_words, join

if TYPE_CHECKING:
    import torch

_LAST_BIT = np.uint64(1)
PADDING = 0
UNKNOWN = 1
FIRST = 2
"""Number of the first token that is known."""
MAX_BAG = 4_096
"""Different tokens of a text that a bag holds; of more, the rarest are taken."""
MAX_CHARACTERS = 2_000
"""Of a text that are looked at."""
OF_WORDS, OF_CHARACTERS = 0, 1
"""Last bit of the key of an n-gram of a bag."""
CHARACTERS_A_WORD = 4
"""A length is told in words; so many characters take the room of one."""


@dataclass(frozen=True)
class Reading:
    """How texts are cut into tokens.

    Attributes:
        words: Longest n-gram of words; 1 where they are read in order.
        characters: Longest n-gram of characters, within words; 0 for none.
        length: Tokens of a row that is read in order; 0 for a bag.
    """

    words: int
    characters: int
    length: int

    def cut(self, texts: Sequence[str]) -> Sequences:
        """Return the tokens of texts."""
        texts = [text[:MAX_CHARACTERS] for text in texts]
        if self.length:
            return find_characters(texts) if self.characters else find_words(texts)
        words = find_words(texts)
        parts = [_mark(find_ngrams(words, size), OF_WORDS) for size in range(1, self.words + 1)]
        if self.characters:
            characters = find_characters(texts)
            sizes = range(min(2, self.characters), self.characters + 1)
            parts += [_mark(find_ngrams(characters, size, within_words=True), OF_CHARACTERS) for size in sizes]
        return join(parts)


@dataclass(frozen=True)
class TextEncoder(Encoder):
    """A vocabulary and a way of reading.

    Attributes:
        reading: How texts are cut.
        keys: `(V,)` uint64, ascending; the number of `keys[i]` is `FIRST + i`.
        weights: `(V,)` float32, how rare a token is among the training texts: its smoothed inverse document frequency.
    """

    reading: Reading
    keys: NDArray[np.uint64]
    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, texts: Sequence[str], reading: Reading, size: int) -> "TextEncoder":
        """Take the `size` tokens that are in most texts."""
        tokens = reading.cut(texts)
        keys, numbers = np.unique(tokens.keys, return_inverse=True)
        pairs = np.unique(tokens.owners * max(len(keys), 1) + numbers)
        texts_with = np.bincount(pairs % max(len(keys), 1), minlength=len(keys))
        kept = np.sort(np.lexsort((keys, -texts_with))[:size])
        weights = np.log((1 + len(texts)) / (1 + texts_with[kept])) + 1
        return cls(reading, keys[kept], weights.astype(np.float32))

    @property
    def kinds(self) -> NDArray[np.int64]:
        """`OF_WORDS` or `OF_CHARACTERS` for each token of a bag, `(V,)`."""
        return (self.keys & _LAST_BIT).astype(np.int64)

    @property
    def size(self) -> int:
        """Number of different numbers in a row."""
        return FIRST + len(self.keys)

    def encode(self, x: NDArray[Any]) -> "torch.Tensor":
        """Return texts as numbers of tokens, `(n, length)` int32, padded at the end."""
        import torch

        tokens = self.reading.cut(x.tolist())
        at = np.searchsorted(self.keys, tokens.keys)
        known = np.append(self.keys, np.uint64(0))[at] == tokens.keys if len(self.keys) else np.zeros(len(at), bool)
        numbers = np.where(known, FIRST + at, UNKNOWN)
        rows = self._lay_out(tokens, numbers) if self.reading.length else self._collect(tokens, numbers)
        return torch.from_numpy(rows)

    def to_state(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return what makes it again."""
        reading = self.reading
        values = {"words": reading.words, "characters": reading.characters, "length": reading.length}
        return values, {"keys": self.keys, "weights": self.weights}

    def _lay_out(self, tokens: Sequences, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the first tokens of each text in order."""
        places = np.arange(len(numbers)) - tokens.starts[tokens.owners]
        return _fill(tokens.owners, places, numbers, len(tokens), self.reading.length)

    def _collect(self, tokens: Sequences, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the different known tokens of each text, the rarest first."""
        known = numbers >= FIRST
        pairs = np.unique(tokens.owners[known] * self.size + numbers[known])
        owners, found = np.divmod(pairs, self.size)
        order = np.lexsort((-self.weights[found - FIRST], owners))
        owners, found = owners[order], found[order]
        places = np.arange(len(found)) - np.searchsorted(owners, owners)
        return _fill(owners, places, found, len(tokens), MAX_BAG)


def _mark(part: Sequences, kind: int) -> Sequences:
    return Sequences(part.keys & ~_LAST_BIT | np.uint64(kind), part.starts)


def _fill(
    owners: NDArray[np.int64], places: NDArray[np.int64], numbers: NDArray[np.int64], rows: int, length: int
) -> NDArray[np.int32]:
    """Write numbers into rows that are as long as the longest of them, and at most `length`."""
    width = min(int(places.max(initial=0)) + 1, length)
    filled = np.full((rows, width), PADDING, np.int32)
    fits = places < width
    filled[owners[fits], places[fits]] = numbers[fits]
    return filled
