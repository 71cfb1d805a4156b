"""Texts as sequences of tokens: words or characters, in any script, each known by a 64-bit key.

A key depends on the token alone, never on the process or on other texts. Case plays no role.

References:
    Unicode Standard Annex 29, which this simplifies: scripts without blanks between words are cut into characters.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.modalities.table.rows import mix

Keys = NDArray[np.uint64]

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""First and last character of the scripts that write no blanks between words."""
_LAST_LETTER = 0x1FFFF
_IGNORED = (*range(0xFE00, 0xFE10), *range(0x200B, 0x2010), 0x2060, 0xFEFF, 0x00AD)
_SPELT: dict[int, str | None] = {**dict.fromkeys(_IGNORED), 0x2019: "'"}
"""Joiners, variation selectors and soft hyphens, without which a word is the same; one sign for apostrophes."""
_BLANK = ord(" ")


@dataclass(frozen=True)
class Sequences:
    """A sequence of keys for each text, laid end to end.

    Attributes:
        keys: `(total,)`.
        starts: `(n + 1,)`; those of text `i` are `keys[starts[i] : starts[i + 1]]`.
    """

    keys: Keys
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, `(n,)`."""
        return np.diff(self.starts)

    @property
    def owners(self) -> NDArray[np.int64]:
        """Number of the text of each token, `(total,)`."""
        return np.repeat(np.arange(len(self)), self.lengths)


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case; each punctuation mark, symbol and emoji is a word of its own."""
    return _word_pattern().findall(text.translate(_SPELT).lower())


def find_words(texts: Iterable[str]) -> Sequences:
    """Return the words of texts."""
    split = [split_words(text) for text in texts]
    starts = np.cumsum([0, *map(len, split)], dtype=np.int64)
    codes, words = pd.factorize(np.array([word for words in split for word in words], dtype=object))
    keys = pd.util.hash_array(np.asarray(words, dtype=object), categorize=False) if len(words) else np.empty(0)
    return Sequences(keys.astype(np.uint64)[codes], starts)


def find_characters(texts: Iterable[str]) -> Sequences:
    """Return the characters of texts, white space squeezed; each text begins and ends with a blank."""
    squeezed = [f" {' '.join(text.translate(_SPELT).lower().split())} " for text in texts]
    starts = np.cumsum([0, *map(len, squeezed)], dtype=np.int64)
    points = np.frombuffer("".join(squeezed).encode("utf-32-le", "replace"), dtype="<u4")
    return Sequences(points.astype(np.uint64), starts)


def find_ngrams(sequences: Sequences, length: int, *, within_words: bool = False) -> Sequences:
    """Return all runs of `length` tokens.

    Args:
        sequences: Words or characters.
        length: 1 or more; texts with fewer tokens have none.
        within_words: Leave out runs of characters with a blank in their middle.
    """
    count = max(len(sequences.keys) - length + 1, 0)
    keys = np.full(count, length, dtype=np.uint64)
    for offset in range(length):
        keys = mix(keys + sequences.keys[offset : offset + count])
    owners = sequences.owners
    kept = owners[:count] == owners[length - 1 :]
    if within_words and length > 2:
        blanks = np.cumsum(np.append(0, sequences.keys == _BLANK))
        kept &= blanks[length - 1 : length - 1 + count] == blanks[1 : 1 + count]
    lengths = np.bincount(owners[:count][kept], minlength=len(sequences))
    return Sequences(keys[kept], np.append(0, np.cumsum(lengths)))


def join(parts: Sequence[Sequences]) -> Sequences:
    """Return one sequence a text that holds those of all parts, one part after the other."""
    owners = np.concatenate([part.owners for part in parts])
    order = np.argsort(owners, kind="stable")
    starts = np.sum([part.starts for part in parts], axis=0)
    return Sequences(np.concatenate([part.keys for part in parts])[order], starts)


@cache
def _word_pattern() -> re.Pattern[str]:
    unspaced = "".join(f"{chr(first)}-{chr(last)}" for first, last in _UNSPACED)
    word = _letters()
    # A letter of an unspaced script, a word with apostrophes inside, or any other sign.
    return re.compile(rf"[{unspaced}]|[{word}]+(?:'[{word}]+)*|[^\s]")


def _letters() -> str:
    """Return letters, marks and digits as the inside of a character class; Python's own leaves vowel signs out."""
    is_spaced = np.ones(_LAST_LETTER + 1, bool)
    for first, last in _UNSPACED:
        is_spaced[first : last + 1] = False
    points = np.array([point for point in np.flatnonzero(is_spaced).tolist() if _is_letter(chr(point))])
    breaks = np.flatnonzero(np.diff(points) > 1)
    firsts, lasts = points[np.append(0, breaks + 1)], points[np.append(breaks, len(points) - 1)]
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in zip(firsts, lasts, strict=True))


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"
