"""Files of arrays: how what was learned is kept, beside a description in JSON. Nothing is ever unpickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTableError


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name as safetensors."""
    from safetensors.numpy import save

    # `save_file` would make a file that only its owner may read.
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def write_described(
    folder: Path, name: str, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]
) -> None:
    """Write `<name>.safetensors` and `<name>.json` into an existing folder."""
    write_arrays(folder / f"{name}.safetensors", arrays)
    (folder / f"{name}.json").write_text(json.dumps(description, indent=1, sort_keys=True))


def read_described(folder: Path, name: str, remedy: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the description that `write_described` has written.

    Args:
        folder: Where.
        name: Of both files, without their ends.
        remedy: What to do where they are not there, ends the message.

    Raises:
        InvalidTableError: If the folder does not hold both files.
    """
    from safetensors.numpy import load_file

    arrays, description = folder / f"{name}.safetensors", folder / f"{name}.json"
    if not arrays.is_file() or not description.is_file():
        raise InvalidTableError(f"Expected {arrays.name} and {description.name} in {folder}; {remedy}")
    return load_file(arrays), json.loads(description.read_text())
