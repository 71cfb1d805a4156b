"""Files of arrays: how what was learned is kept, beside a description in JSON. Nothing is ever unpickled.

Both carry their md5: a damaged or edited file is refused, and never gives another answer.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTableError, listed

SEAL = "content_md5"
"""Key of a description under which the md5 of all others stands."""
_ARRAYS = "arrays_md5"
_DESCRIPTION = "description"


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that JSON can hold, as it has them, with the md5 of their content; see `unseal`."""
    # Tuples are lists there, and keys are texts: the md5 is that of what will be read.
    content = json.loads(json.dumps({name: value for name, value in values.items() if name != SEAL}))
    return {**content, SEAL: _digest(content)}


def unseal(values: Any, path: Path, remedy: str) -> dict[str, Any]:
    """Return what `seal` was given; what carries no md5, as an older version wrote it, is returned as it is.

    Args:
        values: What was read from a JSON file.
        path: The file, for the message.
        remedy: What to do where it is damaged, ends the message.

    Raises:
        InvalidTableError: If it is no JSON object, or another one than was written.
    """
    if not isinstance(values, dict):
        raise InvalidTableError(f"Expected a JSON object in {path}; found {type(values).__name__}. {remedy}")
    content = {name: value for name, value in values.items() if name != SEAL}
    if not values:
        raise InvalidTableError(f"Expected a description in {path}; it is empty. {remedy}")
    if SEAL in values and values[SEAL] != _digest(content):
        raise InvalidTableError(f"{path} is damaged or was changed: it has not the content that was written. {remedy}")
    return content


def read_json_bytes(content: bytes, path: Path, remedy: str) -> Any:
    """Return what stands in a JSON file.

    Raises:
        InvalidTableError: It is no JSON.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidTableError(f"Expected JSON in {path}; found: {error}. {remedy}") from error


@contextmanager
def taking_apart(path: Path, remedy: str) -> Iterator[None]:
    """Say that a file is of another form than this version writes, where it cannot be made what it describes.

    Its seal only tells that it is as it was written, not by whom.

    Raises:
        InvalidTableError: Something is missing in it, or is of another type, shape or range.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        if isinstance(error, InvalidTableError):
            raise
        raise InvalidTableError(
            f"Expected {path} as this version of metaflow_hpo writes it; what it says does not fit "
            f"({type(error).__name__}: {error}). {remedy}"
        ) from error


def md5_of(content: bytes) -> str:
    """Return the md5 of bytes, which names content and keeps no secret."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _digest(values: Mapping[str, Any]) -> str:
    return md5_of(json.dumps(values, sort_keys=True).encode())


def check_finite(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse arrays of weights with NaN or infinity.

    Raises:
        ValueError: There is one.
    """
    broken = sorted(name for name, array in arrays.items() if not np.isfinite(array).all())
    if broken:
        raise ValueError(f"finite numbers were expected; those of {listed(broken)} are not")


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name as safetensors."""
    path.write_bytes(_pack(arrays))


def _pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    from safetensors.numpy import save

    # `save_file` would make a file that only its owner may read.
    return bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def write_described(
    folder: Path, name: str, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]
) -> None:
    """Write `<name>.safetensors` and `<name>.json` into an existing folder."""
    packed = _pack(arrays)
    (folder / f"{name}.safetensors").write_bytes(packed)
    sealed = seal({**description, _ARRAYS: md5_of(packed)})
    (folder / f"{name}.json").write_text(json.dumps(sealed, indent=1, sort_keys=True), encoding="utf-8")


def read_described(folder: Path, name: str, remedy: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the description that `write_described` has written.

    Args:
        folder: Where.
        name: Of both files, without their ends.
        remedy: What to do where they are not there or damaged, ends the message.

    Raises:
        InvalidTableError: If the folder does not hold both files, or not as they were written.
    """
    arrays, description = folder / f"{name}.safetensors", folder / f"{name}.json"
    if not arrays.is_file() or not description.is_file():
        raise InvalidTableError(f"Expected {arrays.name} and {description.name} in {folder}; {remedy}")
    read = read_json_bytes(description.read_bytes(), description, f"It is damaged: {remedy}")
    values = unseal(read, description, f"Make it anew: {remedy}")
    packed = arrays.read_bytes()
    if values.pop(_ARRAYS, None) not in {None, md5_of(packed)}:
        raise InvalidTableError(
            f"{arrays} is damaged or was changed: it is not what {description.name} names; {remedy}"
        )
    return _unpack(packed, arrays, remedy), values


def write_one_file(path: Path, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> None:
    """Write arrays by name and a description, JSON-ready, as one file; the same content gives the same bytes."""
    text = json.dumps(seal({**description, _ARRAYS: _digest_arrays(arrays)}), sort_keys=True).encode()
    path.write_bytes(_pack({**arrays, _DESCRIPTION: np.frombuffer(text, dtype=np.uint8)}))


def read_one_file(path: Path, remedy: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the description that `write_one_file` has written.

    Raises:
        InvalidTableError: If the file is not that, or not as it was written.
    """
    arrays = _unpack(path.read_bytes(), path, remedy)
    if _DESCRIPTION not in arrays:
        raise InvalidTableError(f"Expected arrays with a description in {path}; found {listed(list(arrays))}. {remedy}")
    read = read_json_bytes(arrays.pop(_DESCRIPTION).tobytes(), path, f"It is damaged: {remedy}")
    values = unseal(read, path, remedy)
    if values.pop(_ARRAYS, None) != _digest_arrays(arrays):
        raise InvalidTableError(f"{path} is damaged or was changed: it has not the arrays that were written. {remedy}")
    return arrays, values


def _digest_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _unpack(packed: bytes, path: Path, remedy: str) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(packed))
    except (SafetensorError, ValueError, KeyError) as error:
        raise InvalidTableError(f"Expected arrays in {path}; found: {error}. It is damaged: {remedy}") from error
