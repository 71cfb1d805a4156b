"""Texts as a modality."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.item_files import pack_texts, unpack_texts
from metaflow_hpo.modalities.items.listed import ItemFile
from metaflow_hpo.modalities.items.modality import ItemModality
from metaflow_hpo.modalities.items.new_items import NewItems
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.modalities.table.files.file_names import INBOX_ENDINGS, ending_of
from metaflow_hpo.modalities.table.files.peek import peek_table
from metaflow_hpo.modalities.text.columns import is_table_of_texts
from metaflow_hpo.modalities.text.documents import SUFFIXES, decode_document, holds_documents, read_documents
from metaflow_hpo.modalities.text.frozen import project
from metaflow_hpo.modalities.text.meta_features import TEXT_GROUP
from metaflow_hpo.modalities.text.reading import read_new_texts, read_texts
from metaflow_hpo.modalities.text.showing import show_texts
from metaflow_hpo.task import TEXT


class TextModality(ItemModality):
    """Sentences and documents, `(n,)` of str in an array of objects."""

    @property
    def name(self) -> str:
        """One word."""
        return TEXT

    @property
    def own_groups(self) -> tuple[MetaFeatureGroup, ...]:
        """What describes texts."""
        return (TEXT_GROUP,)

    def recognises(self, source: Path) -> bool:
        """Tell whether it is a table of texts and their classes, by its first rows, or of files that are texts."""
        if holds_documents(source):
            return True
        if source.is_dir() or ending_of(source) not in INBOX_ENDINGS:
            return False
        head = peek_table(source)
        return head is not None and is_table_of_texts(head)

    def read(self, source: Path, hints: Hints) -> ItemData:
        """Read a table of texts, or files that are texts."""
        if source.is_dir() or holds_documents(source):
            return read_documents(source, hints)
        return read_texts(source, hints)

    def to_arrays(self, items: Any) -> Mapping[str, NDArray[Any]]:
        """Return texts as bytes and where each of them ends."""
        return pack_texts(items.tolist())

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.object_]:
        """Return the texts."""
        return np.array(unpack_texts(arrays), dtype=object)

    def prepare_arrays(self, items: Any, fitted_on: Any) -> NDArray[np.object_]:
        """Return texts as they are: what learners make of them is theirs."""
        return np.asarray(items, dtype=object)

    @property
    def endings(self) -> tuple[str, ...]:
        """Of files that are one text each."""
        return SUFFIXES

    def form(self, data: ItemData) -> dict[str, Any]:
        """Return the columns of texts, where they were read from a table, and the one that is no text."""
        return {"target": data.task.target, "texts": list(data.columns.get("texts", ()))}

    def decode(self, files: Sequence[ItemFile], form: Mapping[str, Any]) -> NDArray[np.object_]:
        """Return the texts of files."""
        return np.array([decode_document(file) for file in files], dtype=object)

    def read_new(self, source: Path, form: Mapping[str, Any]) -> NewItems:
        """Read a table with a column of texts, or files that are texts."""
        if source.is_dir() or ending_of(source) not in INBOX_ENDINGS:
            return super().read_new(source, form)
        texts = read_new_texts(source, form["target"], form.get("texts", ()))
        return NewItems(tuple(map(str, range(len(texts)))), np.array(texts, dtype=object))

    def take_new(self, values: Sequence[Any], form: Mapping[str, Any]) -> NDArray[np.object_]:
        """Return the texts of a request.

        Raises:
            InvalidTaskError: If one is no text.
        """
        wrong = [value for value in values if not isinstance(value, str)]
        if wrong:
            raise InvalidTaskError(f"Expected a text as each item; found {listed(wrong)}. Send them as texts.")
        return np.array(list(values), dtype=object)

    def features(self, items: Any) -> NDArray[np.float32]:
        """Return random sums of weighted words and n-grams."""
        return project(items.tolist())

    def show(self, data: ItemData) -> str:
        """Return some training texts of each class as Markdown."""
        return show_texts(data)


TEXT_MODALITY = TextModality()
