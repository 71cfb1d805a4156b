"""Folders, zips, tables and arrays of pictures as people have them: every picture keeps its class and its pixels."""

import io
import json
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.image.reading import read_images
from metaflow_hpo.modalities.registry import read_source
from tests.modalities.written_files import write_files

COUNT = 24
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 9, 12, 3), dtype=np.uint8)
LABELS = [("cat", "dog", "cow")[i % 3] for i in range(COUNT)]
NAMES = [f"{label}/{i:02}.png" for i, label in enumerate(LABELS)]


def encode(pixels, form="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


CONTENT = [encode(one) for one in PIXELS]
EXPECTED = {(one.tobytes(), label) for one, label in zip(PIXELS, LABELS, strict=True)}


def write(folder, names=NAMES, contents=CONTENT):
    return write_files(folder, names, contents)


def pack(path, names=NAMES, contents=CONTENT, more=(), **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in [*zip(names, contents, strict=True), *more]:
            archive.writestr(name, content)
    return path


def table(path, frame, **options):
    frame.to_csv(path, index=False, **options)
    return path


def listed(folder, names=NAMES, labels=LABELS, **more):
    write(folder)
    return pd.DataFrame({"file": names, "label": labels, **more})


def read(source, **hints):
    data = read_source(source, **hints)
    assert data.task.modality == "image"
    return data


def pairs(data):
    return {(one.tobytes(), data.class_names[label]) for one, label in zip(data.items, data.target, strict=True)}


def renamed(*names):
    """Return the files with other names of their classes, and what is expected of them."""
    other = dict(zip(("cat", "dog", "cow"), names, strict=True))
    return [f"{other[label]}/{i}.png" for i, label in enumerate(LABELS)]


def _with_junk(p):
    junk = [
        "cat/.DS_Store",
        "cat/Thumbs.db",
        "cat/desktop.ini",
        "cat/._00.png",
        ".git/cat/1.png",
        "cat/@eaDir/00.png/S.jpg",
    ]
    return write(write(p / "d"), junk, [CONTENT[0]] * len(junk))


def _beside_words(p):
    return write(write(p / "d"), ["README.md", "LICENSE"], [b"# read me", b"free"])


def _linked(p):
    write(p / "d")
    write(p / "else", ["x.png"], CONTENT[:1])
    (p / "d" / "cat" / "00.png").unlink()
    (p / "d" / "cat" / "00.png").symlink_to(p / "else" / "x.png")
    return p / "d"


def _uneven(p):
    return write(p / "d", [f"{label}/{'a/b/' * (i % 3)}{i}.png" for i, label in enumerate(LABELS)])


def _upper(p):
    endings = (".PNG", ".Png", ".JPG", ".jfif")
    return write(p / "d", [name.replace(".png", endings[i % 4]) for i, name in enumerate(NAMES)])


def _odd_names(p):
    signs = ["a b", "#1", "50%", "-x", "\u732b", "caf\u00e9", "x" * 200, "a'b", '"q"', "a&b", "(1)", "~"]
    return write(p / "d", [f"{label}/{signs[i % 12]}{i}.png" for i, label in enumerate(LABELS)])


def _deep_zip(p):
    return pack(p / "a.zip", [f"export/2024/pets/{name}" for name in NAMES])


def _zip_of_a_mac(p):
    junk = [(f"__MACOSX/pets/._{name.replace('/', '_')}", b"\0\5\26\7") for name in NAMES]
    return pack(p / "a.zip", [f"pets/{name}" for name in NAMES], more=[*junk, ("pets/.DS_Store", b"\0\0\0\1Bud1")])


def _zip_with_folders(p):
    return pack(p / "a.zip", more=[("cat/", b""), ("empty/", b"")], compression=zipfile.ZIP_LZMA)


def _zip_after_text(p):
    path = pack(p / "a.zip")
    path.write_bytes(b"#!/bin/sh\nexit\n" + path.read_bytes())
    return path


def _both_sides_and_validation(p):
    sides = ["train"] * 12 + ["test"] * 6 + ["valid"] * 6
    return write(p / "d", [f"{side}/{name}" for side, name in zip(sides, NAMES, strict=True)])


def _npz(**more):
    def make(p):
        arrays = {"X": PIXELS, "y": np.array(LABELS)} | more
        np.savez_compressed(p / "a.npz", **{name: value for name, value in arrays.items() if value is not None})
        return p / "a.npz"

    return make


def _npy(p):
    np.save(p / "pets.npy", np.asfortranarray(PIXELS))
    np.save(p / "pets_labels.npy", np.array(LABELS, dtype="S3"))
    return p / "pets.npy"


CODES = np.array([["cat", "dog", "cow"].index(label) for label in LABELS])
NAMED = np.array(["cat", "dog", "cow"])

ALIKE = {
    "what systems add": _with_junk,
    "words beside the classes": _beside_words,
    "a linked file": _linked,
    "folders of different depth": _uneven,
    "endings in capitals, and wrong ones": _upper,
    "odd names of files": _odd_names,
    "folders above the classes in a zip": _deep_zip,
    "what a mac adds to a zip": _zip_of_a_mac,
    "a zip that is packed otherwise, with empty folders": _zip_with_folders,
    "a zip that unpacks itself": _zip_after_text,
    "folders for three sides": _both_sides_and_validation,
    "a table": lambda p: table(p / "t.csv", listed(p)),
    "a table with ./ before its paths": lambda p: table(p / "t.csv", listed(p, [f"./{n}" for n in NAMES])),
    "a table of full paths": lambda p: table(p / "t.csv", listed(p, [str(p / n) for n in NAMES])),
    "a table with backslashes": lambda p: table(p / "t.csv", listed(p, [n.replace("/", "\\") for n in NAMES])),
    "a table with blanks around its paths": lambda p: table(p / "t.csv", listed(p, [f" {n} " for n in NAMES])),
    "a table with semicolons and a mark of its bytes": lambda p: table(
        p / "t.csv", listed(p), sep=";", encoding="utf-8-sig"
    ),
    "a table in utf-16 with tabs": lambda p: table(p / "t.tsv", listed(p), sep="\t", encoding="utf-16"),
    "a table with everything in quotes": lambda p: table(p / "t.csv", listed(p), quoting=1),
    "a table with more columns and capitals": lambda p: table(
        p / "t.csv", listed(p, Split=["train"] * 12 + ["test"] * 12).rename(columns=str.upper)
    ),
    "a table with widths and heights": lambda p: table(p / "t.csv", listed(p, width=12, height=9)),
    "a table with a file listed twice": lambda p: table(p / "t.csv", pd.concat([listed(p), listed(p)[:3]])),
    "a zip with a table": lambda p: pack(
        p / "a.zip",
        [f"img/{i:02}.png" for i in range(COUNT)],
        more=[("labels.csv", "id,label\n" + "".join(f"img/{i:02}.png,{label}\n" for i, label in enumerate(LABELS)))],
    ),
    "codes with their names": _npz(y=CODES, names=NAMED),
    "codes of one byte a column": _npz(y=CODES.astype(np.uint8)[:, None], class_names=NAMED),
    "a column a class": _npz(y=np.eye(3)[CODES], classes=NAMED),
    "channels first": _npz(X=PIXELS.transpose(0, 3, 1, 2)),
    "numbers the high byte first": _npz(X=PIXELS.astype(">i4")),
    "halves of precision in 0 to 1": _npz(X=(PIXELS / 255).astype(np.float16)),
    "images and labels": _npz(X=None, y=None, images=PIXELS, labels=np.array(LABELS)),
    "npy with names in bytes, columns first": _npy,
}


@pytest.mark.parametrize("name", ALIKE)
def test_the_same_pictures_are_found_however_they_are_kept(tmp_path, name):
    hints = {"target": "LABEL"} if "capitals" in name and "table" in name else {}
    hints = {"target": "label"} if "widths" in name else hints
    data = read(ALIKE[name](tmp_path), **hints)
    assert pairs(data) == EXPECTED
    assert data.task.rows == COUNT


CLASSES = {
    "numbers": (("10", "9", "-1"), ("-1", "9", "10")),
    "numbers with zeros before": (("007", "7", "08"), ("007", "7", "08")),
    "words for true and false": (("True", "false", "None"), ("None", "True", "false")),
    "words for what is missing": (("nan", "NA", "null"), ("NA", "nan", "null")),
    "other scripts": (("\u732b", "\u0441\u043e\u0431\u0430\u043a\u0430", "\u0628\u0642\u0631\u0629"), None),
    "names with blanks, dots and commas": (("big cat", "v1.2", "a,b"), ("a,b", "big cat", "v1.2")),
    "names that differ in case": (("Cat", "cat", "CAT"), ("CAT", "Cat", "cat")),
    "emoji": (("\U0001f431", "\U0001f436", "\U0001f42e"), None),
}


@pytest.mark.parametrize("name", CLASSES)
def test_names_of_folders_are_the_classes_as_they_are_written(tmp_path, name):
    written, in_order = CLASSES[name]
    data = read(write(tmp_path / "d", renamed(*written)))
    other = dict(zip(("cat", "dog", "cow"), written, strict=True))
    assert pairs(data) == {(content, other[label]) for content, label in EXPECTED}
    assert in_order is None or data.class_names == in_order


def test_a_class_that_a_mac_and_a_pc_have_written_is_one(tmp_path):
    folders = ("tea", "caf\u00e9", "tea", "cafe\u0301")
    names = [f"{folders[i % 4]}/{i}.png" for i in range(COUNT)]
    assert read(write(tmp_path / "d", names)).class_names == ("caf\u00e9", "tea")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1.0, 2.0, 3.0], ("1.0", "2.0", "3.0")),
        ([1.5, 2.5, 3.5], ("1.5", "2.5", "3.5")),
        ([True, False, True], ("False", "True")),
        (["yes", "no", "no"], ("no", "yes")),
        (["2024-01-01", "2024-01-02", "2024-01-03"], ("2024-01-01", "2024-01-02", "2024-01-03")),
        (["1e3", "1000", "x"], ("1000", "1e3", "x")),
        (["a ", "a", "b"], ("a", "b")),
    ],
)
def test_classes_in_a_table_are_as_they_are_written(tmp_path, labels, classes):
    frame = listed(tmp_path, labels=[labels[code] for code in CODES])
    data = read(table(tmp_path / "t.csv", frame))
    assert data.class_names == classes
    assert data.task.rows == COUNT


def test_a_file_listed_with_two_classes_is_left_out(tmp_path):
    frame = pd.concat([listed(tmp_path), pd.DataFrame({"file": NAMES[:1], "label": ["dog"]})])
    data = read(table(tmp_path / "t.csv", frame))
    assert pairs(data) == EXPECTED - {(PIXELS[0].tobytes(), "cat")}
    assert "Dropped 2 items whose content occurs with different classes." in data.task.notes


def _kaggle(p):
    write(p / "d", [f"train/{i:02}.png" for i in range(COUNT)])
    table(p / "d" / "labels.csv", pd.DataFrame({"id": [f"{i:02}" for i in range(COUNT)], "breed": LABELS}))
    return p / "d"


def _zip_in_zip(p):
    inner = pack(p / "in.zip").read_bytes()
    return pack(p / "a.zip", ["in.zip"], [inner])


def _cut_zip(p):
    path = pack(p / "a.zip")
    path.write_bytes(path.read_bytes()[:-300])
    return path


def _wrong_sums(p):
    path = pack(p / "a.zip")
    content = bytearray(path.read_bytes())
    for one in CONTENT[:3]:
        content[content.find(one) + 50] ^= 255
    path.write_bytes(content)
    return path


def _pipe(p):
    write(p / "d")
    for name in NAMES[:3]:
        (p / "d" / name).unlink()
        os.mkfifo(p / "d" / name)
    return p / "d"


def _loop(p):
    (p / "d").mkdir()
    (p / "d" / "a").symlink_to(p / "d")
    return p / "d"


def _labels_as_objects(p):
    np.savez(p / "a.npz", X=PIXELS, y=np.array([*LABELS[1:], None], dtype=object))
    return p / "a.npz"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (_kaggle, r"one column of paths that end in \.png.* in labels\.csv; found none"),
        (_zip_in_zip, r"a\.zip; found 1 with \.zip"),
        (_cut_zip, r"a\.zip cannot be opened"),
        (_wrong_sums, r"Of 24 files 3 cannot be read"),
        (_pipe, r"Expected a file; 00\.png is none.*3 cannot be read"),
        (_loop, "found no files"),
        (_labels_as_objects, "whole arrays of numbers or text"),
        (lambda p: write(p / "d", NAMES, [b""] * COUNT), "cat/00.png is empty.*24 cannot be read"),
        (lambda p: write(p / "d", NAMES, [b"<html>404</html>"] * COUNT), "cat/00.png is none"),
        (lambda p: write(p / "d", NAMES[::3], CONTENT[::3]), "at least 20 different items with a class in d; found 8"),
        (
            lambda p: write(p / "d", NAMES, CONTENT[:1] * COUNT),
            "at least 20 different items with a class in d; found 0",
        ),
        (lambda p: table(p / "t.csv", listed(p, [f"http://x/{n}" for n in NAMES])), "24 of 24 are not there"),
        (lambda p: table(p / "t.csv", listed(p, [f"C:\\d\\{n}" for n in NAMES])), "24 of 24 are not there"),
        (lambda p: table(p / "t.csv", listed(p, [f"/{n}" for n in NAMES])), "below"),
        (lambda p: table(p / "t.csv", listed(p, [f"../{n}" for n in NAMES])), "below"),
        (lambda p: table(p / "t.csv", listed(p, [*NAMES[:-2], "x.png", "y.png"])), "2 of 24 are not there"),
        (lambda p: table(p / "t.csv", listed(p, labels="cat")), "at least 2 classes"),
        (lambda p: table(p / "t.csv", listed(p, labels=[None] * COUNT)), "at least 20 different items with a class"),
        (lambda p: table(p / "t.csv", listed(p)[:0]), r"t\.csv"),
        (lambda p: pack(p / "a.npz"), r"a\.npz"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused_by_name(tmp_path, make, match):
    with pytest.raises(InvalidTaskError, match=match):
        read_images(make(tmp_path), Hints())


@pytest.mark.parametrize("name", ["a.tar.gz", "train-images-idx3-ubyte.gz", "cifar.pkl", "a.mat", "a.h5", "a.7z"])
def test_files_that_are_read_by_nothing_here_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b" + json.dumps(LABELS).encode())
    with pytest.raises(InvalidTaskError, match=name.replace(".", r"\.")):
        read_source(tmp_path / name)


def test_a_class_with_one_picture_and_one_with_two_are_learned_from(tmp_path):
    names = ["one/0.png", "two/1.png", "two/2.png", *(f"{'ab'[i % 2]}/{i}.png" for i in range(3, COUNT))]
    data = read(write(tmp_path / "d", names))
    assert data.task.rows == COUNT
    assert not data.is_test[data.target == data.class_names.index("one")].any()
    assert "Classes with one item are learned from, never tested: 'one'." in data.task.notes
