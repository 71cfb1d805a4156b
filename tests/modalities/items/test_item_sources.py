"""Items are found in folders, tables of paths and zips, with their classes, groups and sides."""

import stat
import zipfile

import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.listed import read_files
from metaflow_hpo.modalities.items.sources import holds_items, list_items

DAT = (".dat",)


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def pack(path, *names, **more):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, more.get(name, name))
    return path


def found(source, **hints):
    listed = list_items(source, Hints(**hints), DAT)
    return [(file.read().decode(), label) for file, label in zip(listed.files, listed.labels, strict=True)]


PAIRS = [("cat/1.dat", "cat"), ("cat/2.dat", "cat"), ("dog/1.DAT", "dog")]


def test_a_folder_has_a_folder_for_each_class(tmp_path):
    write(tmp_path / "pets", *(name for name, _ in PAIRS), ".hidden/3.dat", "cat/.4.dat", "cat/Thumbs.db", "note.txt")
    assert found(tmp_path / "pets") == PAIRS
    notes = list_items(tmp_path / "pets", Hints(), DAT).notes
    assert notes == ("Left out 1 files with other endings: 'note.txt'.",)


def test_a_zip_is_read_as_the_folder_in_it(tmp_path):
    names = [f"pets/{name}" for name, _ in PAIRS]
    path = pack(tmp_path / "a.zip", *names, "__MACOSX/pets/cat/._1.dat", "pets/.DS_Store")
    assert found(path) == [(f"pets/{name}", label) for name, label in PAIRS]
    assert holds_items(path, DAT)


def test_paths_with_backslashes_as_windows_writes_them_are_paths(tmp_path):
    plain = [f"pets/{name}" for name, _ in PAIRS]
    path = pack(tmp_path / "a.zip", "pets\\cat\\", *(name.replace("/", "\\") for name in plain))
    assert [label for _, label in found(path)] == [label for _, label in PAIRS]
    assert holds_items(path, DAT)
    write(tmp_path, *plain)
    rows = [(name.replace("/", "\\"), label) for name, (_, label) in zip(plain, PAIRS, strict=True)]
    pd.DataFrame(rows, columns=["path", "y"]).to_csv(tmp_path / "my.csv", index=False)
    assert found(tmp_path / "my.csv") == [(f"pets/{name}", label) for name, label in PAIRS]
    (tmp_path / "my.csv").write_text("path,y\n..\\..\\a.dat,u\n..\\b.dat,v\n")
    with pytest.raises(InvalidTaskError, match=r"Expected paths in my\.csv below"):
        found(tmp_path / "my.csv")


def test_files_that_lie_deeper_are_of_the_class_above(tmp_path):
    assert found(write(tmp_path / "pets", "cat/a/1.dat", "cat/b/2.dat", "dog/1.dat")) == [
        ("cat/a/1.dat", "cat"),
        ("cat/b/2.dat", "cat"),
        ("dog/1.dat", "dog"),
    ]


def test_files_without_a_folder_are_left_out_and_said(tmp_path):
    folder = write(tmp_path / "pets", "cat/1.dat", "dog/1.dat", "loose.dat")
    assert found(folder) == [("cat/1.dat", "cat"), ("dog/1.dat", "dog")]
    assert "Left out 1 files that lie in no folder of a class: 'loose.dat'." in list_items(folder, Hints(), DAT).notes


@pytest.mark.parametrize("sides", [("train", "test"), ("Training", "evaluation")])
def test_folders_of_both_sides_say_what_is_held_out(tmp_path, sides):
    folder = write(tmp_path / "pets", *(f"{side}/{name}/1.dat" for side in sides for name in ("cat", "dog")))
    listed = list_items(folder, Hints(), DAT)
    assert sorted(listed.labels) == ["cat", "cat", "dog", "dog"]
    held = {file.name for file, is_held in zip(listed.files, listed.held, strict=True) if is_held}
    assert held == {f"{sides[1]}/cat/1.dat", f"{sides[1]}/dog/1.dat"}
    assert len(listed.tell(Hints()).test_rows) == 2


def test_a_folder_for_validation_is_learned_from(tmp_path):
    listed = list_items(write(tmp_path / "pets", "train/cat/1.dat", "val/dog/1.dat"), Hints(), DAT)
    assert (listed.labels, listed.held) == (("cat", "dog"), None)


def test_a_class_may_be_called_train(tmp_path):
    assert {label for _, label in found(write(tmp_path / "v", "train/1.dat", "car/1.dat"))} == {"train", "car"}


def test_a_table_lists_paths_classes_groups_and_sides(tmp_path):
    write(tmp_path, "x/1.dat", "x/2.dat", "x/3.dat")
    frame = pd.DataFrame(
        {
            "file": ["x/1.dat", "x/2.dat", "x/3.dat"],
            "label": ["007", "8", None],
            "speaker": ["a", "b", "a"],
            "split": ["train", "train", "test"],
        }
    )
    frame.to_csv(tmp_path / "my.csv", index=False)
    listed = list_items(tmp_path / "my.csv", Hints(), DAT)
    assert found(tmp_path / "my.csv") == [("x/1.dat", "007"), ("x/2.dat", "8"), ("x/3.dat", None)]
    assert listed.groups == ("a", "b", "a")
    assert listed.held == (False, False, True)
    assert listed.tell(Hints()).target == "label"
    assert listed.notes == (
        "Took the column 'file' as paths, the column 'label' as classes, the column 'speaker' as groups.",
        "Took the 1 items that the column 'split' calls so as test items.",
    )
    assert holds_items(tmp_path / "my.csv", DAT)
    frame.to_parquet(tmp_path / "my.parquet")
    assert found(tmp_path / "my.parquet") == found(tmp_path / "my.csv")
    assert holds_items(tmp_path / "my.parquet", DAT)


def test_columns_that_were_said_are_taken(tmp_path):
    write(tmp_path, "1.dat", "2.dat")
    frame = pd.DataFrame({"a": ["1.dat", "2.dat"], "b": ["2.dat", "1.dat"], "c": ["u", "v"], "d": [1, 2]})
    frame.to_csv(tmp_path / "my.csv", index=False)
    assert found(tmp_path / "my.csv", target="c", options={"path": "b"}) == [("2.dat", "u"), ("1.dat", "v")]


def test_paths_may_be_below_another_folder_that_was_said(tmp_path):
    write(tmp_path / "else", "1.dat", "2.dat")
    (tmp_path / "in").mkdir()
    full = [str(tmp_path / "else" / "1.dat"), "2.dat"]
    pd.DataFrame({"path": full, "y": ["u", "v"]}).to_csv(tmp_path / "in" / "my.csv", index=False)
    with pytest.raises(InvalidTaskError, match=r"Expected paths in my\.csv below"):
        found(tmp_path / "in" / "my.csv")
    options = {"root": str(tmp_path / "else")}
    assert found(tmp_path / "in" / "my.csv", options=options) == [("1.dat", "u"), ("2.dat", "v")]


def test_a_zip_or_folder_may_hold_the_table_of_its_files(tmp_path):
    table = "path;label\nimg/1.dat;u\nimg\\2.dat;v\n"
    path = pack(tmp_path / "a.zip", "d/img/1.dat", "d/img/2.dat", "d/list.csv", **{"d/list.csv": table})
    assert found(path) == [("d/img/1.dat", "u"), ("d/img/2.dat", "v")]
    write(tmp_path / "d", "img/1.dat", "img/2.dat")
    (tmp_path / "d" / "list.csv").write_text(table)
    assert found(tmp_path / "d") == [("img/1.dat", "u"), ("img/2.dat", "v")]


def test_a_table_beside_folders_of_classes_that_lists_something_else_is_left_out(tmp_path):
    folder = write(tmp_path / "pets", *(name for name, _ in PAIRS))
    (folder / "sizes.csv").write_text("a,b\n1,2\n3,4\n")
    assert found(folder) == PAIRS


def test_a_few_missing_files_are_left_out_and_said(tmp_path):
    write(tmp_path, *(f"{i}.dat" for i in range(99)))
    frame = pd.DataFrame({"path": [f"{i}.dat" for i in range(100)], "y": ["u", "v"] * 50})
    frame.to_csv(tmp_path / "my.csv", index=False)
    listed = list_items(tmp_path / "my.csv", Hints(), DAT)
    assert len(listed.files) == 99
    assert listed.notes[1] == "Left out 1 items whose files are not there: '99.dat'."
    (tmp_path / "0.dat").unlink()
    with pytest.raises(InvalidTaskError, match=r"2 of 100 are not there \('0.dat', '99.dat'\)"):
        list_items(tmp_path / "my.csv", Hints(), DAT)


def _link(path):
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a/1.dat")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")


def _locked(path):
    pack(path, "a/1.dat")
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)


def _bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.dat", bytes(100_000_000))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda p: pack(p, "../1.dat"), "found '../1.dat', which lie outside"),
        (lambda p: pack(p, "/etc/1.dat"), "which lie outside"),
        (_link, "found 'a/1.dat', which are links"),
        (_locked, "Expected a zip without a password"),
        (_bomb, "announces 100000000"),
        (lambda p: p.write_bytes(b"PK\x03\x04no"), "cannot be opened"),
        (lambda p: p.write_bytes(b""), "cannot be opened"),
        (lambda p: None, "there is no"),
        (lambda p: pack(p, "a/1.txt", "b/2.txt"), r"ending in \.dat in a\.zip; found 2 with \.txt"),
        (pack, r"in a\.zip; found no files"),
        (lambda p: pack(p, "1.dat", "2.dat"), "a folder for each class in a.zip; found 2 files without one"),
        (lambda p: pack(p, "a/1.dat", "t.csv", **{"t.csv": "path,y\nb.dat,1\nc.dat,2\n"}), "2 of 2 are not there"),
    ],
)
def test_a_zip_that_is_no_task_is_refused(tmp_path, make, match):
    make(tmp_path / "a.zip")
    with pytest.raises(InvalidTaskError, match=match):
        list_items(tmp_path / "a.zip", Hints(), DAT)


@pytest.mark.parametrize(
    ("text", "hints", "match"),
    [
        ("path,y\n../1.dat,u\n../2.dat,v\n", {}, "below"),
        ("a,b\n1,2\n3,4\n", {}, r"one column of paths that end in \.dat in my.csv; found none"),
        ("path,a,b\n1.dat,2,3\n1.dat,4,5\n", {}, "which column of my.csv to predict"),
        ("path,y\n1.dat,2\n1.dat,4\n", {"target": "z"}, r"the column 'z' \(target\) in my.csv"),
        ("path,y\n1.dat,2\n1.dat,4\n", {"options": {"group": "g"}}, r"the column 'g' \(group\)"),
        ("path,y\n1.dat,2\n1.dat,4\n", {"test_rows": (7,)}, "test_rows below 2"),
    ],
)
def test_a_table_that_is_no_task_is_refused(tmp_path, text, hints, match):
    write(tmp_path / "in", "1.dat")
    write(tmp_path, "1.dat", "2.dat")
    (tmp_path / "in" / "my.csv").write_text(text)
    with pytest.raises(InvalidTaskError, match=match):
        list_items(tmp_path / "in" / "my.csv", Hints(**hints), DAT)


def test_other_things_are_not_recognised(tmp_path):
    (tmp_path / "my.csv").write_text("a,b\n1,2\n")
    write(tmp_path / "docs", "a/1.txt", "b/1.dat")
    for source in ("my.csv", "docs", "nothing.zip", "nothing"):
        assert not holds_items(tmp_path / source, DAT)


def test_a_few_unreadable_files_are_left_out_and_more_are_an_error(tmp_path):
    listed = list_items(write(tmp_path / "a", *(f"{c}/{i:02}.dat" for c in "uv" for i in range(30))), Hints(), DAT)

    def decode(file, broken):
        if file.name in broken:
            raise InvalidTaskError(f"{file.name} is broken.")
        return file.read()

    results, kept = read_files(listed, lambda file: decode(file, {"u/03.dat"}))
    assert len(results) == len(kept.files) == 59
    assert results[3] == b"u/04.dat"
    assert kept.notes[-1] == "Left out 1 files that cannot be read ('u/03.dat'): u/03.dat is broken."
    with pytest.raises(InvalidTaskError, match=r"u/03.dat is broken. Of 60 files 2 cannot be read"):
        read_files(listed, lambda file: decode(file, {"u/03.dat", "v/01.dat"}))
