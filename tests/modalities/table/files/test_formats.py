"""Tables as people have them: packed, as JSON lines, as Excel workbooks; and what must not be unpacked."""

import bz2
import gzip
import io
import json
import lzma
import sys
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import task_id_of
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.files import unpacking
from metaflow_hpo.modalities.table.files.file_names import ENDINGS, ending_of, sidecar_of, stem_of
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.text_columns import with_text


def own_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=60).round(6), "b": rng.choice(["u", "v"], 60), "y": [0, 1] * 30}
    return pd.DataFrame(columns).assign(c=[None, 1.5, 2.0] * 20)


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


CSV = own_frame().to_csv(index=False).encode()
LINES = own_frame().to_json(orient="records", lines=True).encode()
FILES = {
    "t.csv.gz": gzip.compress(CSV),
    "t.CSV.BZ2": bz2.compress(CSV),
    "t.tsv.xz": lzma.compress(own_frame().to_csv(index=False, sep="\t").encode()),
    "two_streams.csv.xz": lzma.compress(CSV[:500]) + lzma.compress(CSV[500:]),
    "two_streams.csv.gz": gzip.compress(CSV[:500]) + gzip.compress(CSV[500:]),
    "t.csv.zip": zipped({"t.csv": CSV}),
    "t.zip": zipped(
        {"folder/": b"", "folder/t.jsonl": LINES, "__MACOSX/folder/._t.jsonl": b"x", "folder/.DS_Store": b"x"}
    ),
    "t.jsonl": LINES,
    "t.ndjson.gz": gzip.compress(LINES),
    "t.json": own_frame().to_json(orient="records").encode(),
}


@pytest.mark.parametrize("name", FILES)
def test_packed_tables_and_json_are_the_table(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    found = read_table(path)
    pd.testing.assert_frame_equal(found, with_text(own_frame()))
    read = found.attrs["read"]
    if name != "t.zip":
        again = eval(read, {"pd": pd, "path": path, "MISSING": found.attrs["marks"]})  # noqa: S307
        pd.testing.assert_frame_equal(again.astype({"c": float}), own_frame())
    else:  # pandas reads no zip with more than one file
        assert read == ""


def test_a_workbook_is_read_from_its_first_sheet_with_content(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.create_sheet("Data")
    book.create_sheet("Other").append(["x"])
    sheet = book["Data"]
    sheet.append([])
    sheet.append(["a", " b ", "when", None, "y"])
    for i in range(30):
        sheet.append([i + 0.5 if i else "#N/A", "u" if i % 2 else "NA", pd.Timestamp("2024-01-01"), None, i])
    sheet["A5"] = "#DIV/0!"
    path = tmp_path / "My.xlsx"
    book.save(path)
    found = read_table(path)
    assert found.attrs["notes"][0] == "Read the sheet 'Data', not 'Sheet', 'Other'."
    assert list(found.columns) == ["a", "b", "when", "Unnamed: 3", "y"]
    assert found["a"].dtype == "float64"
    assert found["a"].isna().tolist()[:4] == [True, False, True, False]
    assert sorted(found["b"].unique()) == ["NA", "u"]
    assert found["y"].tolist() == list(range(30))
    again = eval(found.attrs["read"], {"pd": pd, "path": path, "MISSING": found.attrs["marks"]})  # noqa: S307
    assert again["a"].isna().tolist() == found["a"].isna().tolist()
    assert read_source(path, "y", kind="regression").task.task_id == "my"


def test_a_workbook_without_openpyxl_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InvalidTaskError, match="pip install openpyxl"):
        read_table(tmp_path / "t.xlsx")


def test_one_cell_in_the_last_corner_of_a_sheet_does_not_fill_the_memory(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["a", "y"])
    book.active["XFD90000"] = 1
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(InvalidTaskError, match="Expected at most 20000000 cells in a sheet"):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("t.csv.gz", gzip.compress(CSV)[:-20], r"whole \.gz file.*cut short"),
        ("t.csv.gz", CSV, r"whole \.gz file"),
        ("t.csv.bz2", bz2.compress(CSV)[:-20], r"whole \.bz2 file"),
        ("t.csv.xz", lzma.compress(CSV)[:-20], r"whole \.xz file"),
        ("t.csv.xz", CSV, r"whole \.xz file"),
        ("t.zip", zipped({"t.csv": CSV})[:-30], r"whole \.zip file"),
        ("t.zip", zipped({"a.csv": CSV, "b.csv": CSV}), r"one table .* found 2 files \('a\.csv', 'b\.csv'\)"),
        ("t.zip", zipped({}), "found 0 files"),
        ("t.zip", zipped({"a.exe": b"x"}), r"one table .*'a\.exe'"),
        ("t.zip", zipped({"a.csv": b""}), r"is empty \(0 bytes\)"),
        ("t.tar.gz", b"x", r"Expected a file ending in \.csv"),
        ("t.npz", b"PK no more", "it may be damaged: say what with --modality"),
        *((f"t{ending}", b"", r"is empty \(0 bytes\)") for ending in (*ENDINGS, ".npz", ".npy", ".arff")),
        ("t.xlsx", b"PK no more", "whole Excel workbook"),
        ("t.xlsx", zipped({"a.csv": CSV}), "whole Excel workbook"),
        ("t.jsonl", LINES[:-5], "found on line 60"),
        ("t.json", b"[1, 2]", "record 1 is int"),
        ("t.json", b"[]", "found none"),
        ("t.jsonl", b'{"a": 1, "y": [2]}\n', "'y' of record 1 holds more than one"),
        ("t.jsonl", b"[" * 100_000, "Expected one JSON object"),
    ],
)
def test_what_cannot_be_unpacked_or_read_gets_one_message(
    tmp_path: Path, name: str, content: bytes, match: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidTaskError, match=match):
        read_table(tmp_path / name)


def test_a_zip_with_a_password_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.csv": CSV}))
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    (tmp_path / "t.zip").write_bytes(content)
    with pytest.raises(InvalidTaskError, match="without a password"):
        read_table(tmp_path / "t.zip")


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zip"])
def test_what_unpacks_to_too_much_is_refused_before_it_is_kept(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "FREE_BYTES", 5_000_000)
    bomb = b"a,y\n" + b"0,1\n" * 1_500_000
    packers = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zip": lambda b: zipped({"t.csv": b})}
    path = tmp_path / f"t.csv{ending}"
    path.write_bytes(packers[ending](bomb))
    assert path.stat().st_size < 20_000
    assert unpacking.find_limit(path) == 5_000_000
    with pytest.raises(InvalidTaskError, match=rf"at most 5000000 bytes unpacked; t\.csv\{ending} .* sample"):
        read_table(path)


def test_a_larger_file_may_hold_more_but_not_without_end(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    for size, limit in [(10, 64 * 1024**2), (2_000_000, 200_000_000), (10**9, 2 * 1024**3)]:
        with path.open("wb") as file:
            file.truncate(size)
        assert unpacking.find_limit(path) == limit


def test_an_xz_that_asks_for_too_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_DECODER_BYTES", 100_000)
    (tmp_path / "t.csv.xz").write_bytes(lzma.compress(CSV))
    with pytest.raises(InvalidTaskError, match="Memory usage limit"):
        read_table(tmp_path / "t.csv.xz")


def test_a_workbook_that_announces_too_much_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", 1000)
    (tmp_path / "t.xlsx").write_bytes(zipped({"xl/workbook.xml": b" " * 2000}))
    with pytest.raises(InvalidTaskError, match="announces 2000"):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("name", "ending", "stem"),
    [
        ("My.Data.csv", ".csv", "My.Data"),
        ("my.CSV.gz", ".csv.gz", "my"),
        ("my.csv.zip", ".csv.zip", "my"),
        ("my.zip", ".zip", "my"),
        ("my.tar.gz", ".gz", "my.tar"),
        ("my", "", "my"),
        (".csv", "", ".csv"),
    ],
)
def test_names_are_cut_at_their_whole_ending(name: str, ending: str, stem: str) -> None:
    path = Path("folder") / name
    assert (ending_of(path) if stem != ".csv" else "", stem_of(path)) == (ending, stem)
    assert sidecar_of(path) == Path("folder") / f"{stem}.yaml"


def test_the_sidecar_of_a_packed_table_goes_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "my.csv.gz"
    path.write_bytes(gzip.compress(CSV))
    (tmp_path / "my.yaml").write_text(json.dumps({"target": "b", "licence": "CC0"}))
    task = read_source(path).task
    assert (task.task_id, task.target, task.licence, task.source) == ("my", "b", "CC0", "inbox/my.csv.gz")
    assert task_id_of(path) == "my"
