"""New items without classes, as people bring them to a network that was trained on others like them."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.items.listed import ItemFile
from metaflow_hpo.modalities.items.trees import open_tree, read_file


@dataclass(frozen=True)
class NewItems:
    """Items to predict.

    Attributes:
        names: `(n,)` what each is called: its path below the source, or its number.
        arrays: `(n, ...)` as the modality prepares items.
    """

    names: tuple[str, ...]
    arrays: NDArray[Any]


def list_new(source: Path, endings: Sequence[str]) -> list[ItemFile]:
    """Return the files of items: one file, or all of a folder or zip, whatever folders they lie in.

    Raises:
        InvalidTaskError: If there is none.
    """
    if source.suffix.lower() in endings and source.is_file():
        return [ItemFile(source.name, lambda: read_file(source))]
    files = open_tree(source).files if source.is_dir() or source.suffix.lower() == ".zip" else {}
    found = [file for name, file in files.items() if name.lower().endswith(tuple(endings))]
    if not found:
        raise InvalidTaskError(
            f"Expected files ending in {', '.join(endings)} to predict, or a folder or zip of them, at {source}; found "
            f"{listed(list(files)) or 'none'}."
        )
    return found


def read_sent(values: Sequence[Any]) -> list[ItemFile]:
    """Return files that were sent in a request, each as its bytes in base64.

    Raises:
        InvalidTaskError: If one is no base64.
    """
    return [_read_one(f"item {number}", value) for number, value in enumerate(values)]


def _read_one(name: str, value: Any) -> ItemFile:
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvalidTaskError(f"Expected the bytes of a file in base64 as {name}; found: {error}.") from error
    return ItemFile(name, lambda: content)
