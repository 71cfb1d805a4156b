"""Hints: what a person says of a file or folder that it cannot say itself, in the call or in a sidecar."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.table.files.file_names import sidecar_of, stem_of

AskedKind = Literal["binary", "multiclass", "regression", "classification"]
"""`classification` leaves binary or multiclass to the number of classes."""

OWN_LICENCE = "unspecified (own data)"
_SOURCE = "inbox/"
MAX_SIDECAR_BYTES = 256 * 1024
MAX_SIDECAR_DEPTH = 4
_MAX_ID = 80
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 _.()-]+")


class Hints(BaseModel):
    """What may stand in `<name>.yaml` beside `<name>.csv`, `<name>.csv.gz` or the folder `<name>`.

    Attributes:
        modality: What the inputs are; told by the file or folder unless given.
        target: What to predict: a column, where there are columns.
        kind: `binary`, `multiclass`, `classification` or `regression`.
        family: Group of relatives of the task.
        metric: Score to optimise.
        licence: Licence of the data.
        drop: Columns not to use.
        test_rows: Positions (from 0) of the test rows in the file.
        task_id: Name of the task.
        simulated: Whether the data are generated.
        options: What only this modality knows, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: str | None = None
    target: str | None = None
    kind: AskedKind | None = None
    family: str | None = None
    metric: str | dict[str, Any] | None = None
    licence: str | None = None
    drop: tuple[str, ...] = ()
    test_rows: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    task_id: str | None = None
    simulated: bool = False
    options: Mapping[str, Any] = Field(default_factory=dict)

    def given(self, **values: Any) -> "Hints":
        """Return the hints with what a caller gives, which wins, option by option; None says nothing."""
        given = {name: value for name, value in values.items() if value is not None}
        if "options" in given:
            given["options"] = {**self.options, **given["options"]}
        return self.model_copy(update=given)

    def describe(self, source: Path) -> dict[str, Any]:
        """Return the fields of a task that depend on its file's name and on what was said of it."""
        task_id = self.task_id or task_id_of(source)
        return {
            "task_id": task_id,
            "family": self.family or task_id,
            "source": f"{_SOURCE}{show_name(source)}",
            "licence": self.licence or OWN_LICENCE,
            "simulated": self.simulated,
        }


def is_landed(source: str) -> bool:
    """Tell by its `source` whether a task is a file of the inbox."""
    return source.startswith(_SOURCE)


def read_hints(source: Path) -> Hints:
    """Return what the sidecar of a file or folder says; nothing where there is none, or it is that file itself."""
    sidecar = sidecar_of(source)
    return Hints() if sidecar == source else read_sidecar(sidecar)


def read_sidecar(path: Path) -> Hints:
    """Read a sidecar; an empty one where there is no such file.

    Raises:
        InvalidTaskError: It is not YAML, too large, or a key is unknown or has a wrong value; the message names it.
    """
    if not path.is_file():
        return Hints()
    if path.stat().st_size > MAX_SIDECAR_BYTES:
        raise InvalidTaskError(
            f"Expected at most {MAX_SIDECAR_BYTES} bytes in {path}; it has {path.stat().st_size}. Shorten the sidecar."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        _check_yaml(path, text)
        values = yaml.safe_load(text)
        return Hints.model_validate({} if values is None else values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}" for one in error.errors(include_url=False)
        )
        raise InvalidTaskError(
            f"Expected only the keys {', '.join(Hints.model_fields)} in {path}; found {wrong}. Correct the sidecar."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidTaskError(f"Expected YAML in UTF-8 in {path}; found: {error}. Correct the sidecar.") from error


def task_id_of(path: Path) -> str:
    """Return a task id made from a file's name, see `make_id`."""
    return make_id(stem_of(path))


def make_id(name: str) -> str:
    """Return a name as ids of tasks are: lower case, anything but letters and digits becomes `_`.

    Where that loses more than blanks, dots, dashes and brackets, a digest of the name follows, as two names must not
    become one: `数据1` and `训练1`, `a#b` and `a%b`.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if slug and len(slug) <= _MAX_ID and _PLAIN_NAME.fullmatch(name):
        return slug
    latin = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", latin).strip("_")[: _MAX_ID - 9].strip("_")
    return f"{slug or 'task'}_{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def show_name(path: Path) -> str:
    """Return a file's name as text that can be written anywhere, also where some of its bytes are no text."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def _check_yaml(path: Path, text: str) -> None:
    """Refuse what a sidecar never needs and what makes a small YAML large: references and deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InvalidTaskError(f"Expected no references (`*name`) in {path}; found one. Write the value out.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_SIDECAR_DEPTH:
            raise InvalidTaskError(f"Expected keys with plain values or lists in {path}; found deep nesting. Mend it.")
