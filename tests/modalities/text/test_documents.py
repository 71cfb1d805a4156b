import zipfile
from pathlib import Path

import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.registry import find_modality, read_source
from metaflow_hpo.modalities.text.modality import TEXT_MODALITY

CLASSES = ("bad", "good")


def make_folder(folder: Path, count: int = 24) -> Path:
    for n in range(count):
        label = CLASSES[n % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{n}.txt").write_text(f"Text {n} is caf\u00e9 {label}\n", encoding="utf-8")
    return folder


def expected(count: int = 24) -> set[tuple[str, str]]:
    return {(f"Text {n} is caf\u00e9 {CLASSES[n % 2]}", CLASSES[n % 2]) for n in range(count)}


def pairs(source: Path, **given: object) -> set[tuple[str, str]]:
    data = read_source(source, **given)
    assert data.task.modality == "text"
    return {(text, data.class_names[label]) for text, label in zip(data.items.tolist(), data.target, strict=True)}


def test_a_folder_with_a_folder_per_class_is_texts(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "mails")
    assert find_modality(source).name == "text"
    assert pairs(source) == expected()


def test_a_zip_of_it_is_the_same_task(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "mails")
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in source.rglob("*.txt"):
            archive.write(file, file.relative_to(tmp_path))
        archive.writestr("__MACOSX/._x.txt", b"junk")
    assert pairs(packed) == expected()
    assert read_source(packed).task.sha256 == read_source(source).task.sha256


def test_a_table_of_paths_is_the_texts_of_these_files(tmp_path: Path) -> None:
    make_folder(tmp_path)
    lines = [f"{CLASSES[n % 2]}/{n}.txt,{CLASSES[n % 2]}" for n in range(24)]
    (tmp_path / "list.csv").write_text("file,label\n" + "\n".join(lines) + "\n")
    assert pairs(tmp_path / "list.csv") == expected()


def test_a_zip_with_one_table_in_it_is_that_table(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "my.zip", "w") as archive:
        archive.writestr("my.csv", "text,label\n" + "".join(f"{text},{label}\n" for text, label in sorted(expected())))
    assert pairs(tmp_path / "my.zip") == expected()


def test_other_encodings_and_empty_files_are_read(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "mails")
    (source / "bad" / "latin.txt").write_bytes("na\u00efve bad".encode("cp1252"))
    (source / "bad" / "wide.txt").write_text("wide bad", encoding="utf-16")
    (source / "good" / "empty.txt").write_bytes(b"")
    assert pairs(source) == {*expected(), ("na\u00efve bad", "bad"), ("wide bad", "bad"), ("", "good")}


def test_a_binary_file_among_texts_is_left_out_and_named(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "mails")
    (source / "bad" / "picture.txt").write_bytes(b"\x89PNG\x00\x00")
    data = read_source(source)
    assert data.task.rows == 24
    assert any("picture.txt" in note for note in data.task.notes)


def test_a_folder_of_other_files_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.pdf").write_bytes(b"%PDF")
    assert not TEXT_MODALITY.recognises(tmp_path / "notes")
    with pytest.raises(InvalidTaskError, match=r"files ending in .txt.* in notes; found 1 with .pdf"):
        read_source(tmp_path / "notes", modality="text")
