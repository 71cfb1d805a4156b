"""Training and test parts: in files beside each other, in a folder, in a zip."""

import zipfile
from pathlib import Path

import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.series.parts import find_pair, find_parts


def names_of(source: Path) -> list[tuple[str, bool]]:
    return [(part.path.name, part.is_test) for part in find_parts(source)]


def test_the_other_part_lies_beside_either(tmp_path: Path) -> None:
    for name in ("Own_TRAIN.ts", "Own_TEST.ts", "Own_TEST.arff", "Other_TEST.ts"):
        (tmp_path / name).write_text("x")
    pair = [("Own_TRAIN.ts", False), ("Own_TEST.ts", True)]
    assert names_of(tmp_path / "Own_TRAIN.ts") == pair
    assert names_of(tmp_path / "Own_TEST.ts") == pair
    (tmp_path / "alone.ts").write_text("x")
    assert names_of(tmp_path / "alone.ts") == [("alone.ts", False)]


def test_a_folder_gives_the_format_that_loses_least(tmp_path: Path) -> None:
    for name in ("Own_TRAIN.arff", "Own_TEST.arff", "Own_TRAIN.tsv", "Own_TEST.tsv", "README.md"):
        (tmp_path / name).write_text("x")
    assert names_of(tmp_path) == [("Own_TRAIN.tsv", False), ("Own_TEST.tsv", True)]


def test_a_zip_gives_its_pair_and_not_what_a_mac_adds(tmp_path: Path) -> None:
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("Own/Own_TRAIN.ts", "Own/Own_TEST.ts", "__MACOSX/Own/._Own_TRAIN.ts", "Own/readme.txt"):
            archive.writestr(name, name)
    parts = find_parts(path)
    assert [(part.content, part.is_test) for part in parts] == [
        (b"Own/Own_TRAIN.ts", False),
        (b"Own/Own_TEST.ts", True),
    ]


def test_parts_of_several_tasks_are_no_pair() -> None:
    assert find_pair(["A_TRAIN.ts", "B_TRAIN.ts"]) is None
    assert find_pair(["A_TEST.ts"]) is None
    assert find_pair(["a/A_train.TSV"]) == ("a/A_train.TSV", None)


def test_what_holds_no_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTaskError, match="there is no"):
        find_parts(tmp_path / "gone.ts")
    with pytest.raises(InvalidTaskError, match="Expected the parts of one task"):
        find_parts(tmp_path)
    (tmp_path / "Own_TEST.ts").write_text("x")
    with pytest.raises(InvalidTaskError, match=r"Expected the training part beside Own_TEST\.ts"):
        find_parts(tmp_path / "Own_TEST.ts")
    (tmp_path / "empty.ts").touch()
    with pytest.raises(InvalidTaskError, match=r"empty.ts is empty \(0 bytes\)"):
        find_parts(tmp_path / "empty.ts")
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InvalidTaskError, match=r"no\.zip cannot be unpacked"):
        find_parts(tmp_path / "no.zip")


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Own_TRAIN.ts", b"0" * 80_000_000)
    with pytest.raises(InvalidTaskError, match=r"bytes unpacked; bomb\.zip holds more"):
        find_parts(path)
