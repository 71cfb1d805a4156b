"""Files of prepared tasks of items: one of safetensors, its description among the arrays, sealed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.array_files import read_one_file, write_one_file
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.task import Task

_OWN = ("target", "is_test", "digests", "groups")
_ITEMS = "items."
_REMEDY = "Make the task again."

Arrays = Mapping[str, NDArray[Any]]


def save_items(path: Path, data: ItemData, arrays: Arrays, description: Mapping[str, Any] | None = None) -> None:
    """Write a task as one file; the same task gives the same bytes.

    Args:
        path: The file, replaced if it exists.
        data: The task.
        arrays: The modality's items, by names of its choice.
        description: What else it must know of them, JSON-ready.
    """
    own = {name: getattr(data, name) for name in _OWN if getattr(data, name) is not None}
    described = {
        "task": data.task.to_dict(),
        "class_names": list(data.class_names),
        "description": dict(description or {}),
    }
    write_one_file(path, {**own, **{_ITEMS + name: array for name, array in arrays.items()}}, described)


def load_items(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `save_items` wrote.

    Returns:
        All fields of an `ItemData` but its items; the arrays of these; and their description.

    Raises:
        InvalidTaskError: If it is not that.
    """
    if not path.is_file():
        raise InvalidTaskError(f"Expected a prepared task in {path}; there is no such file. {_REMEDY}")
    try:
        arrays, described = read_one_file(path, _REMEDY)
        fields = {
            "task": Task.from_dict(described["task"]),
            "class_names": tuple(described["class_names"]),
            **{name: arrays[name] for name in _OWN if name in arrays},
        }
        items = {name.removeprefix(_ITEMS): array for name, array in arrays.items() if name.startswith(_ITEMS)}
        return fields, items, described["description"]
    except InvalidTableError as error:
        raise InvalidTaskError(str(error)) from error
    except (KeyError, TypeError) as error:
        raise InvalidTaskError(
            f"Expected a prepared task in {path}; found another file ({error!r}). {_REMEDY}"
        ) from error


def pack_texts(texts: list[str], name: str = "texts") -> dict[str, NDArray[Any]]:
    """Return texts as arrays that `save_items` can keep: their UTF-8, and where each of them ends."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(one) for one in encoded], dtype=np.int64)
    return {name: np.frombuffer(b"".join(encoded), dtype=np.uint8), f"{name}.ends": ends}


def unpack_texts(arrays: Arrays, name: str = "texts") -> list[str]:
    """Return what `pack_texts` was given."""
    content, ends = arrays[name].tobytes(), arrays[f"{name}.ends"].tolist()
    starts = [0, *ends][: len(ends)]
    return [content[start:end].decode("utf-8", "surrogatepass") for start, end in zip(starts, ends, strict=True)]
