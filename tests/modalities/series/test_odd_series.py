"""Series as archives, sensors and spreadsheets keep them: every series keeps its class, its values and their order."""

import codecs
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.registry import read_source

COUNT, STEPS = 24, 10
VALUES = np.random.default_rng(0).normal(size=(COUNT, STEPS)).round(3).astype(np.float32)
TWO = np.random.default_rng(1).normal(size=(COUNT, 2, STEPS)).round(3).astype(np.float32)
LABELS = [("1", "2")[i % 2] for i in range(COUNT)]
HEAD = "@problemName Own\n@timeStamps false\n@missing false\n@univariate true\n@equalLength true\n@seriesLength 10\n"


def put(path: Path, text: str, encoding: str = "utf-8", before: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before + text.encode(encoding))
    return path


def read(source: Path, **given: Any) -> ItemData:
    data = read_source(source, **{"modality": "series"} | given)
    assert isinstance(data, ItemData)
    return data


def found(data: ItemData) -> dict[bytes, str]:
    """Return the class of each series by its values."""
    return {data.items.one(i).tobytes(): data.class_names[label] for i, label in enumerate(data.target)}


def by_value(series: Any, labels: list[str] = LABELS) -> dict[bytes, str]:
    return {np.atleast_2d(one).astype(np.float32).tobytes(): label for one, label in zip(series, labels, strict=True)}


def numbers(one: Any, separator: str = ",", missing: str = "?") -> str:
    return separator.join(missing if np.isnan(value) else f"{value:g}" for value in one)


def ts(values: Any = VALUES, labels: list[str] = LABELS, head: str = HEAD, missing: str = "?") -> str:
    lines = [
        ":".join([*(numbers(c, missing=missing) for c in np.atleast_2d(one)), label])
        for one, label in zip(values, labels, strict=True)
    ]
    return f"{head}@classLabel true {' '.join(sorted(set(labels)))}\n@data\n" + "\n".join(lines) + "\n"


def ucr(separator: str = "\t", label: str = "{}") -> str:
    return "".join(
        label.format(c) + separator + numbers(one, separator) + "\n" for one, c in zip(VALUES, LABELS, strict=True)
    )


def arff(quote: str = "", comment: str = "") -> str:
    steps = "".join(f"@attribute {quote}att{i}{quote} numeric\n" for i in range(STEPS))
    rows = "".join(f"{numbers(one)},{label}\n" for one, label in zip(VALUES, LABELS, strict=True))
    return f"{comment}@relation 'my own'\n\n{steps}@attribute target {{1,2}}\n\n@data\n{rows}"


def relational() -> str:
    steps = "".join(f"\t@attribute t{i} numeric\n" for i in range(STEPS))
    rows = "".join(f"'{numbers(one[0])}\\n{numbers(one[1])}',{label}\n" for one, label in zip(TWO, LABELS, strict=True))
    return f"@relation own\n@attribute both relational\n{steps}@end both\n@attribute class {{1,2}}\n@data\n{rows}"


def wide(prefix: str = "t", first: int = 0) -> pd.DataFrame:
    frame = pd.DataFrame(VALUES.astype(float).round(3), columns=[f"{prefix}{i + first}" for i in range(STEPS)])
    return frame.assign(label=LABELS)


def long(times: Any = None, seed: int | None = None) -> pd.DataFrame:
    moments = list(range(STEPS)) if times is None else list(times)
    frame = pd.DataFrame(
        {
            "id": np.repeat([f"s{i}" for i in range(COUNT)], STEPS),
            "time": moments * COUNT,
            "value": VALUES.astype(float).round(3).ravel(),
            "label": np.repeat(LABELS, STEPS),
        }
    )
    return frame if seed is None else frame.sample(frac=1, random_state=seed)


def csv(path: Path, frame: pd.DataFrame, **options: Any) -> Path:
    return put(path, str(frame.to_csv(index=False, **options)))


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{"X": VALUES, "y": np.array(LABELS)} | arrays)
    return path


def packed(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def parts(path: Path, ending: str = ".ts", **names: str) -> Path:
    for side, chosen in (("TRAIN", slice(0, 16)), ("TEST", slice(16, None))):
        put(path / f"Own_{side}{ending}", ts(VALUES[chosen], LABELS[chosen]))
    return path


DATES = pd.date_range("2024-02-25", periods=STEPS)
ALIKE = {
    "ts": lambda p: put(p / "a.ts", ts()),
    "ts with a mark of its bytes and ends of lines of windows": lambda p: put(
        p / "a.ts", ts().replace("\n", "\r\n"), before=codecs.BOM_UTF8
    ),
    "ts in utf-16": lambda p: put(p / "a.ts", ts(), "utf-16"),
    "ts in capitals": lambda p: put(
        p / "a.ts", ts().replace("@classLabel true", "@CLASSLABEL TRUE").replace("@data", "@DATA")
    ),
    "ts with comments": lambda p: put(p / "a.ts", "#one\n%two\n" + ts().replace("@data\n", "@data\n# three\n")),
    "ts with blanks": lambda p: put(p / "a.ts", ts().replace(",", " , ").replace(":", " : ")),
    "ts that says little": lambda p: put(p / "a.ts", ts(head="")),
    "ts with tabs in its head": lambda p: put(
        p / "a.ts", ts().replace("@classLabel true 1 2", "@classLabel\ttrue\t1\t2")
    ),
    "ts with blank lines": lambda p: put(p / "a.ts", ts().replace("\n", "\n\n")),
    "ts with exponents": lambda p: put(
        p / "a.ts",
        f"{HEAD}@classLabel true 1 2\n@data\n"
        + "".join(",".join(f"{v:.4E}" for v in one) + f":{label}\n" for one, label in zip(VALUES, LABELS, strict=True)),
    ),
    "ts in two parts": lambda p: parts(p / "d"),
    "ts in a zip, a folder down": lambda p: packed(
        p / "a.zip",
        {
            "Own/Own_TRAIN.ts": ts(VALUES[:16], LABELS[:16]),
            "Own/Own_TEST.ts": ts(VALUES[16:], LABELS[16:]),
            "Own/README.md": "x",
            "__MACOSX/Own/._Own_TRAIN.ts": "x",
        },
    ),
    "ucr with tabs": lambda p: put(p / "a.tsv", ucr()),
    "ucr with commas": lambda p: put(p / "a.txt", ucr(",")),
    "ucr with blanks": lambda p: put(p / "a.txt", ucr("  ")),
    "ucr with floats as classes": lambda p: put(p / "a.txt", ucr("  ", "  {}.0000000e+00")),
    "ucr with tabs at the ends": lambda p: put(p / "a.tsv", ucr().replace("\n", "\t\n")),
    "ucr of windows": lambda p: put(p / "a.tsv", ucr().replace("\n", "\r\n"), before=codecs.BOM_UTF8),
    "arff": lambda p: put(p / "a.arff", arff()),
    "arff with quotes and comments": lambda p: put(p / "a.arff", arff("'", "% made by hand\n%\n")),
    "arff in capitals": lambda p: put(
        p / "a.arff", arff().replace("@attribute", "@ATTRIBUTE").replace("numeric", "REAL").replace("@data", "@DATA")
    ),
    "arff with blanks after its commas": lambda p: put(p / "a.arff", arff().replace(",", ", ")),
    "wide": lambda p: csv(p / "a.csv", wide()),
    "wide from 1": lambda p: csv(p / "a.csv", wide("t_", 1)),
    "wide with zeros before its numbers": lambda p: csv(
        p / "a.csv", wide().rename(columns={f"t{i}": f"t{i:03}" for i in range(STEPS)})
    ),
    "wide with its columns turned round": lambda p: csv(p / "a.csv", wide()[wide().columns[::-1]]),
    "wide with semicolons and commas in its numbers": lambda p: csv(p / "a.csv", wide(), sep=";", decimal=","),
    "wide with numbers for names": lambda p: csv(p / "a.csv", wide("")),
    "wide with an id": lambda p: csv(p / "a.csv", wide().assign(id=range(COUNT))),
    "wide in parquet": lambda p: _parquet(wide(), p / "a.parquet"),
    "wide in a workbook": lambda p: _workbook(wide(), p / "a.xlsx"),
    "wide in gzip": lambda p: _gzip(wide(), p / "a.csv.gz"),
    "long": lambda p: csv(p / "a.csv", long()),
    "long, shuffled": lambda p: csv(p / "a.csv", long(seed=1)),
    "long, from 7 on in steps of 3": lambda p: csv(p / "a.csv", long(range(7, 37, 3), 1)),
    "long with negative and broken times": lambda p: csv(p / "a.csv", long(np.linspace(-1, 0.8, STEPS).round(2), 1)),
    "long with dates": lambda p: csv(p / "a.csv", long(DATES.strftime("%Y-%m-%d"), 1)),
    "long with days before months": lambda p: csv(p / "a.csv", long(DATES.strftime("%d.%m.%Y"), 1)),
    "long with hours": lambda p: csv(
        p / "a.csv",
        long((pd.date_range("2024-03-31T22:00Z", periods=STEPS, freq="h")).strftime("%Y-%m-%dT%H:%M:%SZ"), 1),
    ),
    "long with seconds since 1970": lambda p: csv(p / "a.csv", long([1_700_000_000 + i for i in range(STEPS)], 1)),
    "long with its class on the first row alone": lambda p: csv(
        p / "a.csv", long().assign(label=[LABELS[i // STEPS] if i % STEPS == 0 else "" for i in range(COUNT * STEPS)])
    ),
    "long in parquet with times": lambda p: _parquet(long(DATES, 1), p / "a.parquet"),
    "arrays": lambda p: npz(p / "a.npz"),
    "arrays of one channel": lambda p: npz(p / "a.npz", X=VALUES[:, None]),
    "arrays of doubles, the high byte first": lambda p: npz(p / "a.npz", X=VALUES.astype(">f8")),
    "arrays by columns": lambda p: npz(p / "a.npz", X=np.asfortranarray(VALUES)),
    "arrays with codes": lambda p: npz(p / "a.npz", y=np.array([0, 1] * 12), names=np.array(["1", "2"])),
    "arrays with classes as floats": lambda p: npz(p / "a.npz", y=np.array([1.0, 2.0] * 12)),
    "arrays with a column a class": lambda p: npz(p / "a.npz", y=np.eye(2)[[0, 1] * 12], classes=np.array(["1", "2"])),
    "arrays in two parts": lambda p: _two_parts(p / "a.npz"),
}


def _two_parts(path: Path) -> Path:
    np.savez(path, X_train=VALUES[:16], y_train=LABELS[:16], X_test=VALUES[16:], y_test=LABELS[16:])
    return path


def _parquet(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path)
    return path


def _workbook(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_excel(path, index=False)
    return path


def _gzip(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ALIKE)
def test_the_same_series_are_found_however_they_are_kept(tmp_path: Path, name: str) -> None:
    assert found(read(ALIKE[name](tmp_path))) == by_value(VALUES)


GAPS = VALUES.copy()
GAPS[0, 3], GAPS[1, 0], GAPS[2, -1] = np.nan, np.nan, np.nan
KEPT = [*GAPS[:2], GAPS[2, :-1], *GAPS[3:]]  # what is missing at the end is taken for the end
BEFORE = [one[: STEPS - i % 5] for i, one in enumerate(VALUES)]


OTHERS = {
    "gaps in ts": (lambda p: put(p / "a.ts", ts(GAPS)), KEPT),
    "gaps in ts as NaN": (lambda p: put(p / "a.ts", ts(GAPS, missing="NaN")), KEPT),
    "gaps in ts as nothing": (lambda p: put(p / "a.ts", ts(GAPS, missing="")), KEPT),
    "gaps in a table": (lambda p: csv(p / "a.csv", wide().assign(t3=_gap(3), t0=_gap(0), t9=_gap(9))), KEPT),
    "gaps in a long table": (
        lambda p: csv(p / "a.csv", long().assign(value=GAPS.astype(float).round(3).ravel())),
        KEPT,
    ),
    "gaps in arrays": (lambda p: npz(p / "a.npz", X=GAPS), KEPT),
    "unequal in ts": (lambda p: put(p / "a.ts", ts(BEFORE, head="@equalLength false\n")), BEFORE),
    "unequal in arrays": (
        lambda p: npz(p / "a.npz", X=VALUES, length=np.array([STEPS - i % 5 for i in range(COUNT)])),
        BEFORE,
    ),
    "unequal in a long table": (
        lambda p: csv(p / "a.csv", long()[[t < STEPS - i % 5 for i in range(COUNT) for t in range(STEPS)]]),
        BEFORE,
    ),
    "two channels in ts": (lambda p: put(p / "a.ts", ts(TWO, head="@dimensions 2\n")), TWO),
    "two channels in arff": (lambda p: put(p / "a.arff", relational()), TWO),
    "two channels in arrays": (lambda p: npz(p / "a.npz", X=TWO), TWO),
    "two channels in a table": (
        lambda p: csv(
            p / "a.csv",
            pd.DataFrame({f"{c}{t}": TWO[:, i, t] for t in range(STEPS) for i, c in enumerate("xy")}).assign(
                label=LABELS
            ),
        ),
        TWO,
    ),
    "two channels in a long table": (
        lambda p: csv(
            p / "a.csv",
            long(seed=2).drop(columns="value").join(pd.DataFrame({"u": TWO[:, 0].ravel(), "v": TWO[:, 1].ravel()})),
        ),
        TWO,
    ),
    "whole numbers": (lambda p: npz(p / "a.npz", X=(VALUES * 1000).astype(np.int16)), (VALUES * 1000).astype(np.int16)),
    "truth values": (
        lambda p: npz(p / "a.npz", X=np.arange(COUNT)[:, None] >> np.arange(STEPS) & 1 == 1),
        np.arange(COUNT)[:, None] >> np.arange(STEPS) & 1,
    ),
    "very large and small numbers": (lambda p: put(p / "a.ts", ts(VALUES * 1e30)), None),
    "series that do not move": (
        lambda p: put(p / "a.ts", ts(np.arange(COUNT)[:, None] + np.zeros(STEPS))),
        np.arange(COUNT)[:, None] + np.zeros(STEPS),
    ),
}


def _gap(step: int) -> Any:
    return GAPS[:, step].astype(float).round(3)


@pytest.mark.parametrize("name", OTHERS)
def test_gaps_lengths_channels_and_numbers_are_kept(tmp_path: Path, name: str) -> None:
    make, expected = OTHERS[name]
    if expected is None:
        data = read(make(tmp_path))
        assert np.abs(data.items.values).max() == pytest.approx(np.abs(VALUES).max() * 1e30, rel=1e-5)
    else:
        assert found(read(make(tmp_path))) == by_value(expected)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("up", "down"), ("down", "up")),
        (("-1", "1"), ("-1", "1")),
        (("0", "10"), ("0", "10")),
        (("True", "False"), ("False", "True")),
        (("a.b", "c-d"), ("a.b", "c-d")),
        (("\u4e0a", "\u4e0b"), ("\u4e0a", "\u4e0b")),
    ],
)
@pytest.mark.parametrize("form", ["ts", "wide", "long", "npz"])
def test_classes_are_as_they_are_written(tmp_path: Path, labels: tuple[str, str], classes: Any, form: str) -> None:
    named = [labels[i % 2] for i in range(COUNT)]
    source = {
        "ts": lambda: put(tmp_path / "a.ts", ts(labels=named)),
        "wide": lambda: csv(tmp_path / "a.csv", wide().assign(label=named)),
        "long": lambda: csv(tmp_path / "a.csv", long().assign(label=np.repeat(named, STEPS))),
        "npz": lambda: npz(tmp_path / "a.npz", y=np.array(named)),
    }[form]()
    data = read(source)
    assert data.class_names == classes
    assert found(data) == by_value(VALUES, named)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda p: put(p / "a.ts", ts(head="@timeStamps true\n")), "time stamps"),
        (lambda p: put(p / "a.ts", ts().replace(":1\n", ":3\n")), "a class among 1, 2 at the end"),
        (lambda p: put(p / "a.ts", ts()[:-40]), r"a\.ts"),
        (lambda p: put(p / "a.ts", ts().replace(":2\n", "\n")), r"a\.ts"),
        (lambda p: put(p / "a.ts", "<html><body>404</body></html>"), "lines with @ before @data"),
        (lambda p: put(p / "a.ts", "\0" * 99), "binary file"),
        (lambda p: put(p / "a.tsv", ucr()[:-30]), "10 values|Expected 10 values"),
        (lambda p: put(p / "a.tsv", ucr() + "1\tx\n"), "10 values|found 'x'"),
        (lambda p: put(p / "a.arff", arff().replace("{1,2}", "numeric")), "a last attribute with classes"),
        (lambda p: put(p / "a.arff", arff().replace("numeric", "string")), "found also"),
        (lambda p: put(p / "a.arff", arff()[:200]), "found none|a last attribute"),
        (lambda p: put(p / "Own_TEST.ts", ts()), "Expected the training part beside Own_TEST.ts"),
        (lambda p: packed(p / "a.zip", {"a_TRAIN.ts": ts(), "b_TRAIN.ts": ts()}), "the parts of one task"),
        (lambda p: packed(p / "a.zip", {"a.txt": "x"}), "the parts of one task"),
        (lambda p: csv(p / "a.csv", long(seed=1).replace({"time": {3: 2}})), "different times in each series"),
        (lambda p: csv(p / "a.csv", long().replace({"time": {3: "soon"}})), "found 'soon'"),
        (
            lambda p: csv(p / "a.csv", long(pd.date_range("2024-01-01", periods=STEPS).strftime("%d.%m.%Y"))),
            "may be 2024-.* or 2024-.*no day above 12 tells which",
        ),
        (
            lambda p: csv(p / "a.csv", long().assign(label=[str(1 + i % 2) for i in range(COUNT * STEPS)])),
            "one class for each",
        ),
        (lambda p: csv(p / "a.csv", long().assign(id=None)), r"a\.csv"),
        (lambda p: csv(p / "a.csv", wide().drop(columns="t4")), "numbered by step"),
        (lambda p: csv(p / "a.csv", wide().assign(t4="x")), "numbers in the column 't4'"),
        (lambda p: csv(p / "a.csv", wide().drop(columns="label")), "which column of a.csv is the class"),
        (lambda p: csv(p / "a.csv", wide()[:0]), r"a\.csv"),
        (lambda p: csv(p / "a.csv", wide().assign(label=None)), r"a\.csv"),
        (lambda p: npz(p / "a.npz", X=VALUES.astype(complex)), "as numbers of the shape"),
        (lambda p: npz(p / "a.npz", X=np.where(VALUES > 2, np.inf, VALUES)), "finite numbers"),
        (lambda p: npz(p / "a.npz", X=VALUES[:, :2]), "at least 3 steps"),
        (lambda p: npz(p / "a.npz", X=np.full_like(VALUES, np.nan)), "all are missing"),
        (lambda p: npz(p / "a.npz", X=VALUES[:5], y=LABELS[:5]), "at least 20 different items"),
        (lambda p: npz(p / "a.npz", X=VALUES[:1].repeat(COUNT, axis=0)), "at least 20 different items"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused_by_name(tmp_path: Path, make: Any, match: str) -> None:
    with pytest.raises(InvalidTaskError, match=match):
        read(make(tmp_path))


def test_a_series_twice_in_one_class_is_one_and_in_two_classes_is_none(tmp_path: Path) -> None:
    both = np.concatenate([VALUES, VALUES[:1], VALUES[1:2]])
    data = read(put(tmp_path / "a.ts", ts(both, [*LABELS, "1", "1"])))
    assert found(data) == {
        content: label for content, label in by_value(VALUES).items() if content != VALUES[1].tobytes()
    }
    assert "Dropped 1 exact copies of other items." in data.task.notes
    assert "Dropped 2 items whose content occurs with different classes." in data.task.notes
