"""What a file says is checked whoever sealed it: no value out of its form, shape or range ends in a crash or NaN."""

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from metaflow_hpo.array_files import SEAL, read_described, seal, write_described
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.parquet_files import write_sealed_parquet
from tests.adapters import test_damaged_bytes
from tests.adapters.test_damaged_bytes import KINDS, show

CUT, DOUBLED, GONE = object(), object(), object()
WRONG = (None, "x", -1, 0, 1e308, float("nan"), float("inf"), [], {}, True, 2**40, CUT, DOUBLED, GONE)
"""What is put in the place of a value, or done to it."""
TRIES = 60
"""Files a kind, drawn from all that differ in one value."""


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where values stand, two of each list."""
    if path and path[0] != SEAL:
        yield path
    inside = value if isinstance(value, dict) else range(min(len(value), 2)) if isinstance(value, list) else ()
    for name in inside:
        yield from paths_of(value[name], (*path, name))


def changed(values: Any, path: tuple[Any, ...], wrong: object) -> Any:
    """Return values with another one in a place; None where that cannot be done there."""
    values = copy.deepcopy(values)
    place = values
    for name in path[:-1]:
        place = place[name]
    old = place[path[-1]]
    if wrong is GONE:
        del place[path[-1]]
    elif wrong is CUT or wrong is DOUBLED:
        if not isinstance(old, list | str) or not old:
            return None
        place[path[-1]] = old[:-1] if wrong is CUT else old + old[-1:]
    else:
        place[path[-1]] = wrong
    return values


def changed_arrays(arrays: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield arrays of other shapes, and with numbers that none of them has."""
    for name, array in arrays.items():
        others = {"gone": None, "flat": array.reshape(-1), "none": array[:0], "short": array[..., :-1]}
        if array.dtype.kind == "f" and array.size:
            for number in (np.nan, np.inf, -7.0):
                others[str(number)] = np.concatenate([[number], array.reshape(-1)[1:]]).reshape(array.shape)
        elif array.size:
            others["far"] = np.full_like(array, np.iinfo(array.dtype).max)
        for what, other in others.items():
            given = {key: value for key, value in arrays.items() if key != name}
            yield f"{name} {what}", given if other is None else {**given, name: other.astype(array.dtype)}


def changed_frames(frame: pd.DataFrame) -> Iterator[tuple[str, Callable[[], pd.DataFrame]]]:
    """Yield tables without a column, and with other values in one."""

    def filled(name: str, wrong: object) -> pd.DataFrame:
        return frame.assign(**{name: pd.Series([wrong] * len(frame), dtype=object)})

    for name in frame.columns:
        yield f"{name} gone", lambda name=name: frame.drop(columns=name)
        for wrong in (None, "x", 1.5, -1, np.inf, b"\xff", [1, 2]):
            yield f"{name} {wrong!r}", lambda name=name, wrong=wrong: filled(name, wrong)
    yield "no rows", lambda: frame[:0]
    yield "no columns", lambda: frame[[]]


def described(folder: Path, name: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is done to arrays with their description."""
    arrays, values = read_described(folder, name, "")
    for path in paths_of(values):
        for wrong in WRONG:
            other = changed(values, path, wrong)
            if other is not None:
                yield f"{path} {wrong!r}", lambda other=other: write_described(folder, name, arrays, other)
    for what, others in changed_arrays(arrays):
        yield what, lambda others=others: write_described(folder, name, others, values)


def sealed_json(path: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is done to a JSON file."""
    values = json.loads(path.read_text())
    for place in paths_of(values):
        for wrong in WRONG:
            other = changed(values, place, wrong)
            if other is not None:
                yield f"{place} {wrong!r}", lambda other=other: path.write_text(json.dumps(seal(other)))
    for text in ("[1]", "null", '"x"', "{}", "[" * 5_000):
        yield text[:5], lambda text=text: path.write_text(text)


def sealed_parquet(path: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is done to a parquet file, and to what stands beside the table in it."""
    table = parquet.read_table(path, partitioning=None)
    said = {name: value for name, value in (table.schema.metadata or {}).items() if b"md5" not in name}

    def write(table: pa.Table, said: dict[bytes, bytes]) -> None:
        write_sealed_parquet(path, table.replace_schema_metadata({**(table.schema.metadata or {}), **said}))

    own = {name: value for name, value in said.items() if name.startswith(b"metaflow_hpo")}
    for what, make in changed_frames(table.to_pandas()):
        yield what, lambda make=make: write(pa.Table.from_pandas(make(), preserve_index=False), own)
    for name, text in own.items():
        values = json.loads(text)
        for place in paths_of(values):
            for wrong in WRONG:
                changed_said = changed(values, place, wrong)
                if changed_said is not None:
                    new = {**own, name: json.dumps(changed_said).encode()}
                    yield f"{place} {wrong!r}", lambda new=new: write(table.replace_schema_metadata(None), new)


CHANGES: dict[str, Callable[[Path], Iterator[tuple[str, Callable[[], object]]]]] = {
    "recommender": lambda folder: described(folder, "past_tasks"),
    # Which columns a network wants is compared with those of new rows before they come to it.
    "network": lambda folder: (one for one in described(folder, "network") if "'name')" not in one[0]),
    "own task": lambda folder: sealed_json(next((folder / "own").glob("*.json"))),
    "learner": lambda folder: sealed_json(folder / "svm.json"),
    "opaque": lambda folder: sealed_json(folder / "one.opaque"),
    "knowledge": lambda folder: sealed_json(folder / "provenance.json"),
    "kept trials": lambda folder: sealed_parquet(next((folder / "kept").glob("*.parquet"))),
    "exported trials": lambda folder: sealed_parquet(folder / "out.parquet"),
    "history": lambda folder: sealed_parquet(folder / "h.parquet"),
    "table": lambda folder: sealed_parquet(folder / "one.table"),
}
MAY_LACK = {"table", "kept trials", "opaque", "own task"}
"""Kinds in which a number that is not known is NaN."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHANGES)
def test_no_value_out_of_range_gives_a_crash_or_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kind, chance = KINDS[name], random.Random(name)
    monkeypatch.setattr(test_damaged_bytes, "find_task", cache(test_damaged_bytes.find_task))
    (tmp_path / "pristine").mkdir()
    kind.write(tmp_path / "pristine")
    folder = tmp_path / "tried"
    shutil.copytree(tmp_path / "pristine", folder)
    has_nan = is_odd(kind.read(folder))
    changes = list(CHANGES[name](folder))
    refused = tried = 0
    for what, change in chance.sample(changes, min(TRIES, len(changes))):
        try:
            change()
        except (TypeError, ValueError, pa.ArrowException):  # what cannot even be written
            continue
        tried += 1
        try:
            found = kind.read(folder)
        except MetaflowHPOError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{what} crashed") from error
        else:
            assert has_nan or name in MAY_LACK or not is_odd(found), what
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "pristine", folder)
    assert tried > TRIES // 2
    assert refused > tried // 8


def is_odd(found: object) -> bool:
    """Tell whether an answer has a number that is none."""
    text = repr(show(found))
    return any(word in text for word in ("'nan'", "'inf'", "'-inf'", "(nan", "(inf"))


def test_what_does_not_fit_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    KINDS["recommender"].write(tmp_path)
    arrays, values = read_described(tmp_path, "past_tasks", "")
    write_described(tmp_path, "past_tasks", arrays, {**values, "default": 10_000})
    with pytest.raises(MetaflowHPOError, match=r"past_tasks\.json as this version .* a default from 0 to .*hpo fit"):
        KINDS["recommender"].read(tmp_path)
