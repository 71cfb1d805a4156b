"""One form for texts that look the same, and what makes two of them near-identical."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.text.tokens import split_words

MAX_CHARACTERS = 10_000
"""Of a text; what follows is cut."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_HTML = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|&(?:[a-zA-Z]{2,8}|#\d{1,6});")


def clean_text(text: str) -> str:
    """Return a text in Unicode's composed form (NFC), without control characters, and cut to `MAX_CHARACTERS`.

    Tags and entities of HTML stay: they may say something of the class.
    """
    cut = _CONTROL.sub(" ", text[:MAX_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n"))
    return unicodedata.normalize("NFC", cut).strip()[:MAX_CHARACTERS]


def say_cleaned(raw: Sequence[str], cleaned: Sequence[str]) -> list[str]:
    """Return what is worth saying of the texts of a task, one sentence each."""
    cut = sum(len(text) > MAX_CHARACTERS for text in raw)
    empty = sum(not text for text in cleaned)
    html = sum(bool(_HTML.search(text)) for text in cleaned)
    notes = [f"Cut {cut} texts after {MAX_CHARACTERS:,} characters."] if cut else []
    notes += [f"{empty} texts are empty."] if empty else []
    return notes + ([f"{html} texts hold HTML, which is left as it is."] if html else [])


def number_alike(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each text, `(n,)`; equal ones for texts of the same words but for case and punctuation."""
    numbers: dict[tuple[str, ...], int] = {}
    return np.array([numbers.setdefault(_key(text), len(numbers)) for text in texts], dtype=np.int64)


def _key(text: str) -> tuple[str, ...]:
    tokens = split_words(text)
    return tuple(token for token in tokens if token[0].isalnum()) or tuple(tokens)
