"""Tables and folders of texts as people have them: every text keeps its class and its letters."""

import codecs
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.registry import read_source

COUNT = 24
LABELS = [("ham", "spam")[n % 2] for n in range(COUNT)]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
TEXTS = [f"message of {WORDS[n % 12]} words, {'first' if n < 12 else 'second'} part" for n in range(COUNT)]
EXPECTED = set(zip(TEXTS, LABELS, strict=True))
FRAME = pd.DataFrame({"text": TEXTS, "label": LABELS})


def put(path: Path, content: str, encoding: str = "utf-8", before: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before + content.encode(encoding))
    return path


def csv(frame: pd.DataFrame = FRAME, **options: object) -> str:
    return str(frame.to_csv(index=False, lineterminator="\n", **options))


def table(path: Path, frame: pd.DataFrame = FRAME, **options: object) -> Path:
    return put(path, csv(frame, **options))


def pairs(source: Path, **given: object) -> set[tuple[str, str]]:
    data = read_source(source, **given)
    assert data.task.modality == "text"
    return {(text, data.class_names[label]) for text, label in zip(data.items.tolist(), data.target, strict=True)}


def documents(folder: Path, encoding: str = "utf-8", suffix: str = ".txt", end: str = "\n") -> Path:
    for n, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        put(folder / label / f"{n}{suffix}", text + end, encoding)
    return folder


def packed(path: Path, names: list[str], contents: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in zip(names, contents, strict=True):
            archive.writestr(name, content)
    return path


def npz(path: Path) -> Path:
    np.savez(path, X=np.array(TEXTS), y=np.array(LABELS))
    return path


IDS = FRAME.assign(id=range(COUNT))
ALIKE = {
    "a mark of its bytes": lambda p: put(p / "a.csv", csv(), before=codecs.BOM_UTF8),
    "utf-16, the high byte first": lambda p: put(p / "a.csv", csv(), "utf-16-be", codecs.BOM_UTF16_BE),
    "utf-32": lambda p: put(p / "a.csv", csv(), "utf-32"),
    "lines as windows ends them": lambda p: put(p / "a.csv", csv().replace("\n", "\r\n")),
    "lines as old macs ended them": lambda p: put(p / "a.csv", csv().replace("\n", "\r")),
    "no end of the last line": lambda p: put(p / "a.csv", csv().rstrip("\n")),
    "blank lines between": lambda p: put(p / "a.csv", csv().replace("\n", "\n\n")),
    "everything in quotes": lambda p: table(p / "a.csv", quoting=1),
    "bars between": lambda p: table(p / "a.csv", sep="|"),
    "a line that names the separator": lambda p: put(p / "a.csv", "sep=;\n" + csv(sep=";")),
    "a comment above": lambda p: put(p / "a.csv", "# made by hand\n" + csv()),
    "blanks after the commas": lambda p: put(p / "a.csv", csv(quoting=1).replace('","', '", "')),
    "names with blanks around": lambda p: table(
        p / "a.csv", FRAME.rename(columns={"text": " text ", "label": "label "})
    ),
    "names in capitals": lambda p: table(p / "a.csv", FRAME.rename(columns=str.upper)),
    "names in another script": lambda p: table(
        p / "a.csv", FRAME.rename(columns={"text": "\u6587\u672c", "label": "\u985e\u5225"})
    ),
    "no names": lambda p: put(p / "a.csv", csv(header=False)),
    "the class first": lambda p: table(p / "a.csv", FRAME[["label", "text"]]),
    "numbers of rows": lambda p: put(p / "a.csv", FRAME.to_csv()),
    "an id": lambda p: table(p / "a.csv", IDS),
    "an id of words": lambda p: table(p / "a.csv", FRAME.assign(id=[f"a{n:03}" for n in range(COUNT)])),
    "a side of all rows": lambda p: table(p / "a.csv", FRAME.assign(split="train")),
    "an empty column": lambda p: table(p / "a.csv", FRAME.assign(id="")),
    "rows that are empty": lambda p: put(p / "a.csv", csv() + ",\n,\n"),
    "rows twice": lambda p: table(p / "a.csv", pd.concat([FRAME, FRAME])),
    "gzip": lambda p: _written(FRAME, p / "a.csv.gz"),
    "bzip2": lambda p: _written(FRAME, p / "a.csv.bz2"),
    "xz": lambda p: _written(FRAME, p / "a.csv.xz"),
    "json lines": lambda p: put(p / "a.jsonl", FRAME.to_json(orient="records", lines=True)),
    "json lines with letters escaped and blank lines": lambda p: put(
        p / "a.jsonl", FRAME.to_json(orient="records", lines=True).replace("\n", "\n\n")
    ),
    "json": lambda p: put(p / "a.json", json.dumps(FRAME.to_dict("records"), indent=2)),
    "json by columns": lambda p: put(p / "a.json", json.dumps(FRAME.to_dict("list"))),
    "parquet with categories": lambda p: _parquet(FRAME.astype({"label": "category"}), p / "a.parquet"),
    "parquet with objects": lambda p: _parquet(FRAME.astype(object), p / "a.parquet"),
    "parquet with an index": lambda p: _parquet(FRAME.set_index(pd.Index(TEXTS[::-1])), p / "a.parquet"),
    "a workbook": lambda p: _workbook(p / "a.xlsx"),
    "files": lambda p: documents(p / "mails"),
    "files without an end of their line": lambda p: documents(p / "mails", end=""),
    "files with blanks around": lambda p: documents(p / "mails", end=" \r\n\r\n\t"),
    "files in utf-16": lambda p: documents(p / "mails", "utf-16"),
    "files with marks of their bytes": lambda p: documents(p / "mails", "utf-8-sig"),
    "files with endings in capitals": lambda p: documents(p / "mails", suffix=".TXT"),
    "a zip with a table a folder down": lambda p: packed(p / "a.zip", ["data/a.csv"], [csv()]),
    "a zip of a mac with a table": lambda p: packed(p / "a.zip", ["a.csv", "__MACOSX/._a.csv"], [csv(), "\0\5\26\7"]),
    "a zip with backslashes": lambda p: packed(
        p / "a.zip", [f"m\\{label}\\{n}.txt" for n, label in enumerate(LABELS)], TEXTS
    ),
}


def _written(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def _parquet(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path)
    return path


def _workbook(path: Path) -> Path:
    FRAME.to_excel(path, index=False, startrow=2)
    return path


@pytest.mark.parametrize("name", ALIKE)
def test_the_same_texts_are_found_however_they_are_kept(tmp_path: Path, name: str) -> None:
    assert pairs(ALIKE[name](tmp_path)) == EXPECTED


SIGNS = {
    "emoji of families": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "flags": "\U0001f1e9\U0001f1ea",
    "skin and hearts": "\U0001f44d\U0001f3fd \u2764\ufe0f",
    "hebrew from right to left": "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "arabic with its marks": "\u0627\u0644\u0633\u064e\u0651\u0644\u0627\u0645\u064f",
    "thai without blanks": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a",
    "chinese": "\u4eca\u5929\u5929\u6c14\u5f88\u597d",
    "korean": "\uc548\ub155\ud558\uc138\uc694",
    "tamil": "\u0bb5\u0ba3\u0b95\u0bcd\u0b95\u0bae\u0bcd",
    "old scripts": "\U00012000\U00010330",
    "letters of mathematics": "\U0001d4d7\u2200x\u2208\u211d",
    "two signs of one look": "\uff21\uff22 AB",
    "html": '<div class="a">1 &lt; 2 &amp; 3</div><!-- no -->',
    "json": '{"a": [1, "b"], "c": null}',
    "code": "if (a == b) { return c[0]; } // d",
    "addresses": "https://a.b/c?d=e&f=%20#g @you #tag me@b.c",
    "quotes": "\"a\" 'b' \u00abc\u00bb \u201ed\u201c ``e''",
    "separators": "a,b;c|d\te",
    "backslashes": r"C:\new\table \\n \x00",
    "lines": "one\n\ntwo\n  three",
    "formulas": "=SUM(A1:A9) +1 -1 @x",
    "words that may mean nothing": "NA null None nan N/A -",
    "numbers": "1,234.56 1e9 007 0x1F 12:30 2024-01-01",
    "soft hyphens and joiners": "a\u00adb c\u200bd e\u2060f",
    "marks of direction": "\u202eabc\u202c \u200fd",
    "marks over marks": "Z\u0351\u036b\u0313a\u0334l",
}


@pytest.mark.parametrize("name", SIGNS)
@pytest.mark.parametrize("form", ["csv", "jsonl", "files"])
def test_signs_come_through_whole(tmp_path: Path, name: str, form: str) -> None:
    frame = FRAME.assign(text=[f"{SIGNS[name]} {text}" for text in TEXTS])
    if form == "files":
        for n, (text, label) in enumerate(frame.itertuples(index=False, name=None)):
            put(tmp_path / "m" / label / f"{n}.txt", text)
        source = tmp_path / "m"
    elif form == "csv":
        source = table(tmp_path / "a.csv", frame)
    else:
        source = put(tmp_path / "a.jsonl", frame.to_json(orient="records", lines=True))
    assert pairs(source, modality="text") == set(frame.itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 1], ("0", "1")),
        ([-1, 1], ("-1", "1")),
        ([1, 10], ("1", "10")),
        (["007", "7"], ("007", "7")),
        (["1.0", "2.0"], ("1.0", "2.0")),
        (["1.50", "2"], ("1.50", "2")),
        ([True, False], ("False", "True")),
        (["yes", "no"], ("no", "yes")),
        (["NA", "EU"], ("EU", "NA")),
        (["nan", "null"], ("nan", "null")),
        (["+", "-"], ("+", "-")),
        (["a,b", 'c"d'], ("a,b", 'c"d')),
        (["\U0001f600", "\U0001f622"], ("\U0001f600", "\U0001f622")),
        ([" x", "y "], ("x", "y")),
        (["2024-01-02", "2024-01-01"], ("2024-01-01", "2024-01-02")),
        (["1e5", "100000"], ("100000", "1e5")),
        (["very long " * 30 + "a", "very long " * 30 + "b"], None),
    ],
)
def test_classes_are_as_they_are_written(tmp_path: Path, labels: list[object], classes: tuple[str, ...] | None) -> None:
    frame = FRAME.assign(label=[labels[n % 2] for n in range(COUNT)])
    source = table(tmp_path / "a.csv", frame)
    wanted = {(text, str(label).strip()) for text, label in frame.itertuples(index=False, name=None)}
    assert pairs(source, modality="text") == wanted
    assert classes is None or read_source(source, modality="text").class_names == classes


def test_texts_of_numbers_alone_are_texts_where_that_is_said(tmp_path: Path) -> None:
    frame = FRAME.assign(text=[f"0{n} {100 - n}" if n % 2 else f"{n:03}" for n in range(COUNT)])
    found = pairs(table(tmp_path / "a.csv", frame), options={"text": "text"}, modality="text", target="label")
    assert found == set(frame.itertuples(index=False, name=None))


def test_texts_of_one_letter_and_of_signs_alone_are_kept_apart(tmp_path: Path) -> None:
    signs = ["a", "b", "c", "!", "?", "!!", "...", "-", "\u4e00", "\u4e8c", "\U0001f600", "\U0001f601", *WORDS]
    frame = FRAME.assign(text=signs)
    found = pairs(table(tmp_path / "a.csv", frame), options={"text": "text"}, modality="text", target="label")
    assert found == set(frame.itertuples(index=False, name=None))


def test_a_zero_byte_within_a_text_is_a_blank(tmp_path: Path) -> None:
    frame = FRAME.assign(text=[text.replace(" of ", " of\0") for text in TEXTS])
    source = put(tmp_path / "a.jsonl", frame.to_json(orient="records", lines=True))
    assert pairs(source) == EXPECTED


def test_lines_within_a_text_are_one_sort(tmp_path: Path) -> None:
    frame = FRAME.assign(text=[f"Dear all,\r\n\r\n{text}" for text in TEXTS])
    assert pairs(table(tmp_path / "a.csv", frame)) == {(f"Dear all,\n\n{text}", label) for text, label in EXPECTED}


def test_documents_of_a_megabyte_without_a_blank_are_cut_and_said(tmp_path: Path) -> None:
    long = pd.DataFrame({"text": ["\u6587" * 400_000 + "a", "x" * 1_000_000], "label": ["ham", "spam"]})
    data = read_source(table(tmp_path / "a.csv", pd.concat([FRAME, long])))
    assert data.task.rows == COUNT + 2
    assert {"\u6587" * 10_000, "x" * 10_000} <= set(data.items.tolist())
    assert "Cut 2 texts after 10,000 characters." in data.task.notes


def _cut_utf16(folder: Path) -> Path:
    path = put(folder / "a.csv", csv(), "utf-16")
    path.write_bytes(path.read_bytes()[:-1])
    return path


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda p: put(p / "a.csv", ""), "a.csv is empty"),
        (lambda p: put(p / "a.csv", "\ufeff"), r"a\.csv"),
        (lambda p: put(p / "a.csv", "\n\n\n"), r"a\.csv"),
        (lambda p: put(p / "a.csv", "text,label\n"), r"a\.csv"),
        (lambda p: put(p / "a.csv", csv()[:-9] + '"'), r"a\.csv"),
        (lambda p: put(p / "a.csv", "<!DOCTYPE html>\n<html><body>404</body></html>\n"), r"a\.csv"),
        (lambda p: put(p / "a.csv", "PK\3\4" + "\0" * 99), r"a\.csv"),
        (_cut_utf16, r"a\.csv"),
        (lambda p: put(p / "a.jsonl", '{"text": "a", "label": "b"}\n{"text": '), r"a\.jsonl"),
        (lambda p: put(p / "a.jsonl", "[1, 2]\n3\n"), r"a\.jsonl"),
        (lambda p: put(p / "a.json", '{"text": {"a": [1]}}'), r"a\.json"),
        (lambda p: put(p / "a.json", "null"), r"a\.json"),
        (lambda p: put(p / "a.parquet", "PAR1"), r"a\.parquet"),
        (lambda p: put(p / "a.xlsx", "PK"), r"a\.xlsx"),
        (lambda p: put(p / "a.csv.gz", "no gzip"), r"a\.csv\.gz"),
        (lambda p: packed(p / "a.zip", ["a.csv", "b.csv"], [csv(), csv()]), r"a\.zip"),
        (lambda p: table(p / "a.csv", FRAME.assign(text="the very same words")), "at least 20 different items"),
        (lambda p: table(p / "a.csv", FRAME.assign(text="")), r"a\.csv"),
        (lambda p: table(p / "a.csv", FRAME.assign(label=None)), r"a\.csv"),
        (lambda p: table(p / "a.csv", FRAME.assign(label="one")), "at least 2 classes"),
        (lambda p: table(p / "a.csv", FRAME[["text"]]), r"a\.csv|classes of the texts"),
        (lambda p: put(p / "m" / "ham" / "1.txt", "one").parents[1], "at least 20 different items"),
    ],
)
def test_what_holds_no_texts_and_classes_is_refused_by_name(tmp_path: Path, make: object, match: str) -> None:
    with pytest.raises(InvalidTaskError, match=match):
        read_source(make(tmp_path), modality="text")  # type: ignore[operator]
