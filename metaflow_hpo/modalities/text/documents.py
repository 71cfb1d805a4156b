"""Files that are one text each: a folder with a folder per class, a table of their paths, or a zip of these."""

from pathlib import Path

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.listed import ItemFile, read_files
from metaflow_hpo.modalities.items.sources import holds_items, list_items
from metaflow_hpo.modalities.table.files.delimited import decode
from metaflow_hpo.modalities.text.assembling import assemble_texts

SUFFIXES = (".txt", ".text")


def holds_documents(source: Path) -> bool:
    """Tell whether a source is of files that are one text each."""
    return holds_items(source, SUFFIXES)


def read_documents(source: Path, hints: Hints) -> ItemData:
    """Read files as texts, see `list_items`.

    Raises:
        InvalidTaskError: If they cannot be a task; the message says what to do.
    """
    texts, found = read_files(list_items(source, hints, SUFFIXES), decode_document)
    groups = None if found.groups is None else list(found.groups)
    hints = found.tell(hints)
    return assemble_texts(texts, list(found.labels), hints=hints, source=source, groups=groups, notes=found.notes)


def decode_document(file: ItemFile) -> str:
    """Return the text of a file.

    Raises:
        InvalidTaskError: If it is none.
    """
    try:
        return decode(Path(file.name), file.read())[0]
    except InvalidTaskError as error:
        raise InvalidTaskError(f"Expected a text in {file.name}. {error}") from error
