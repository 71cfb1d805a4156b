"""Pictures become tasks: labels, order, channels and sizes are right, and what was changed is said."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.image.near import number_near
from metaflow_hpo.modalities.image.reading import read_images

TONES = {"dark": 40, "middle": 120, "light": 200}


def draw(count=30, shape=(12, 10), channels=3, seed=0):
    """Return pictures whose class is their tone: what was read can be checked against it."""
    rng = np.random.default_rng(seed)
    names = [list(TONES)[i % 3] for i in range(count)]
    tones = np.array([TONES[name] for name in names])
    noise = rng.integers(-30, 30, (count, *shape, channels))
    return (tones[:, None, None, None] + noise).astype(np.uint8), names


def save(folder, pixels, names, suffix=".png", **options):
    for i, (picture, name) in enumerate(zip(pixels, names, strict=True)):
        path = folder / name / f"{i:03}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(path, **options)
    return folder


def check(data):
    """Check by value that every picture has its class, and the right way."""
    found = [min(TONES, key=lambda name: abs(TONES[name] - float(one.mean()))) for one in data.items]
    assert found == [data.class_names[label] for label in data.target]


def read(source, **hints):
    return read_images(source, Hints(**hints))


def test_a_folder_is_read_by_value(tmp_path):
    pixels, names = draw()
    data = read(save(tmp_path / "tones", pixels, names))
    check(data)
    assert (data.task.rows, data.task.test_rows, data.class_names) == (30, 6, ("dark", "light", "middle"))
    assert {one.tobytes() for one in data.items} == {one.tobytes() for one in pixels}
    assert data.task.notes == ()
    assert data.task.task_id == "tones"


def test_a_zip_a_table_and_arrays_of_the_same_pictures_are_the_same_task(tmp_path):
    pixels, names = draw()
    folder = save(tmp_path / "tones", pixels, names)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png"), reverse=True):
            archive.write(path, f"deep/{path.relative_to(folder)}")
    paths = sorted(folder.rglob("*.png"))
    frame = pd.DataFrame({"img": [str(p.relative_to(tmp_path)) for p in paths], "tone": [p.parent.name for p in paths]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    np.savez(tmp_path / "a.npz", X=pixels, y=np.array(names))
    np.savez(tmp_path / "b.npz", X=pixels.transpose(0, 3, 1, 2), y=np.array(names))
    digests = {read(tmp_path / name).task.sha256 for name in ("tones", "z.zip", "t.csv", "a.npz", "b.npz")}
    assert len(digests) == 1
    assert read(tmp_path / "t.csv").task.target == "tone"
    assert "Took the second axis of (30, 3, 12, 10) as channels." in read(tmp_path / "b.npz").task.notes


def test_mixed_sizes_get_the_median_and_it_is_said(tmp_path):
    names = [list(TONES)[i % 3] for i in range(30)]
    pixels = [np.full((10 + i, 40 - i, 3), TONES[name] + i, np.uint8) for i, name in enumerate(names)]
    data = read(save(tmp_path / "tones", pixels, names))
    check(data)
    assert data.items.shape == (30, 24, 26, 1)
    assert "Made the pictures 24 x 26 pixels, from 30 sizes (height x width)." in data.task.notes
    sized = read(tmp_path / "tones", options={"size": [8, 9]})
    assert sized.items.shape[1:3] == (8, 9)
    check(sized)


def test_large_pictures_are_made_64_pixels_at_most(tmp_path):
    pixels, names = draw(shape=(96, 128))
    data = read(save(tmp_path / "tones", pixels, names, ".jpg"))
    assert data.items.shape == (30, 48, 64, 3)
    check(data)
    assert "Made the pictures 48 x 64 pixels, from 96 x 128 (height x width)." in data.task.notes


def test_pictures_in_colour_without_any_are_made_grey_and_it_is_said(tmp_path):
    pixels, names = draw(channels=1)
    data = read(save(tmp_path / "tones", pixels.repeat(3, axis=3), names))
    assert data.items.shape == (30, 12, 10, 1)
    assert "Made the pictures grey: all their channels are equal." in data.task.notes
    plain = read(save(tmp_path / "plain", pixels, names))
    assert plain.task.sha256 == data.task.sha256
    assert plain.task.notes == ()
    np.savez(tmp_path / "a.npz", X=pixels.repeat(3, axis=3), y=np.array(names))
    assert read(tmp_path / "a.npz").task.sha256 == data.task.sha256


def test_grey_pictures_among_coloured_ones_are_made_rgb_and_it_is_said(tmp_path):
    pixels, names = draw()
    mixed = [one[..., :1] if i < 4 else one for i, one in enumerate(pixels)]
    data = read(save(tmp_path / "tones", mixed, names))
    assert data.items.shape[3] == 3
    assert "Made 4 grey pictures RGB, as the others are." in data.task.notes
    check(data)


def test_copies_and_copies_of_other_classes_are_dropped_and_said(tmp_path):
    pixels, names = draw(33)
    pixels[30], names[30] = pixels[0], names[0]
    pixels[31], names[31] = pixels[1], "light"
    notes = read(save(tmp_path / "tones", pixels, names)).task.notes
    assert "Dropped 1 exact copies of other items." in notes
    assert "Dropped 2 items whose content occurs with different classes." in notes


def test_pictures_that_were_saved_again_stay_on_one_side(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (40, 6, 6, 1), dtype=np.uint8) + rng.integers(0, 50, (40, 1, 1, 3), dtype=np.uint8)
    smooth = np.stack([np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC)) for one in coarse])
    names = ["uv"[i % 2] for i in range(40)]
    save(tmp_path / "a", smooth, names)
    save(tmp_path / "a", smooth[:20], names[:20], ".jpg", quality=90)
    data = read(tmp_path / "a")
    assert data.task.rows == 60
    assert "Kept 40 items that are nearly alike together in splits." in data.task.notes
    assert sorted(np.bincount(data.groups).tolist()) == [1] * 20 + [2] * 20
    assert not set(data.groups[data.is_test]) & set(data.groups[~data.is_test])


def test_pictures_that_only_look_alike_are_not_grouped():
    rng = np.random.default_rng(0)
    strokes = np.zeros((200, 16, 16, 1), np.uint8)
    for one in strokes:
        row, column = rng.integers(3, 11, 2)
        one[row, 2:14] = 255
        one[2:14, column] = 255
    distinct = np.unique(strokes, axis=0)
    assert len(set(number_near(distinct).tolist())) == len(distinct)
    tones = np.full((3, 8, 8, 1), 10, np.uint8) + np.array([0, 1, 100], np.uint8)[:, None, None, None]
    assert number_near(tones).tolist() == [0, 0, 1]


def test_a_broken_picture_of_many_is_left_out_and_said(tmp_path):
    pixels, names = draw(40)
    folder = save(tmp_path / "tones", pixels, names)
    (folder / "dark" / "000.png").write_bytes((folder / "dark" / "000.png").read_bytes()[:200])
    data = read(folder)
    assert data.task.rows == 39
    assert any("Left out 1 files that cannot be read ('dark/000.png')" in note for note in data.task.notes)
    check(data)
    (folder / "light" / "text.png").write_text("no picture")
    (folder / "light" / "empty.png").write_bytes(b"")
    with pytest.raises(InvalidTaskError, match=r"\.png.*Of 42 files [23] cannot be read \('"):
        read(folder)


def test_what_was_done_to_pictures_is_said(tmp_path):
    pixels, names = draw()
    folder = save(tmp_path / "tones", pixels, names)
    see_through = np.dstack([pixels[0], np.full((12, 10), 250, np.uint8)])
    Image.fromarray(see_through).save(folder / "dark" / "see.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels[1]).save(folder / "middle" / "turned.png", exif=exif)
    notes = read(folder).task.notes
    assert "1 pictures with transparency were laid on white." in notes
    assert "1 pictures were turned as their EXIF says." in notes


def test_test_pictures_that_come_with_the_data_are_held_out(tmp_path):
    pixels, names = draw(60)
    save(tmp_path / "tones" / "train", pixels[:45], names[:45])
    save(tmp_path / "tones" / "test", pixels[45:], names[45:])
    data = read(tmp_path / "tones")
    assert {one.tobytes() for one in data.test_items} == {one.tobytes() for one in pixels[45:]}
    np.savez(tmp_path / "a.npz", x_train=pixels[:45], y_train=names[:45], x_test=pixels[45:], y_test=names[45:])
    assert read(tmp_path / "a.npz").task.sha256 == data.task.sha256


@pytest.mark.parametrize(
    ("turn", "options", "tolerance"),
    [
        (lambda x: x, {}, 0),
        (lambda x: x.astype(np.int64), {}, 0),
        (lambda x: x.astype(np.float32), {}, 0),
        (lambda x: (x / 255).astype(np.float64), {}, 0),
        (lambda x: x.astype(np.uint16) * 257, {}, 0),
        (lambda x: (x / 127.5 - 1).astype(np.float32), {"range": [-1, 1]}, 0),
        (lambda x: (x // 16).astype(np.float64), {"range": [0, 15]}, 9),
        (lambda x: np.dstack(list(x)).transpose(2, 0, 1), {}, 0),
    ],
)
def test_arrays_are_read_whatever_their_numbers_mean(tmp_path, turn, options, tolerance):
    pixels, names = draw(channels=1)
    x = turn(pixels[..., 0])
    np.savez(tmp_path / "a.npz", X=x, y=np.array(names))
    data = read(tmp_path / "a.npz", options=options)
    check(data)
    wanted = {one.tobytes() for one in pixels}
    if tolerance == 0:
        assert {one.tobytes() for one in data.items} == wanted
    assert data.items.shape == (30, 12, 10, 1)


def test_four_channels_are_laid_on_white(tmp_path):
    pixels, names = draw()
    x = np.concatenate([pixels, np.full((30, 12, 10, 1), 255, np.uint8)], axis=3)
    x[:, 0, 0, 3] = 0
    np.savez(tmp_path / "a.npz", X=x, y=np.array(names))
    data = read(tmp_path / "a.npz")
    assert (data.items[:, 0, 0] == 255).all()
    assert "Laid the pictures on white where they are transparent." in data.task.notes


def _npz(x, **more):
    def make(path):
        np.savez(path / "a.npz", **({"X": x, "y": np.arange(len(x)) % 2} | more))
        return path / "a.npz"

    return make


def _folder(*names, content=b"no"):
    def make(path):
        for name in names:
            (path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
            (path / "d" / name).write_bytes(content)
        return path / "d"

    return make


X = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("make", "options", "match"),
    [
        (_npz(X.reshape(40, 64)), {}, r"found the shape \(40, 64\)"),
        (_npz(X.reshape(40, 8, 8, 1, 1)), {}, r"found the shape \(40, 8, 8, 1, 1\)"),
        (_npz(X.reshape(40, 2, 4, 8)), {}, "neither has 1, 3 or 4 channels"),
        (_npz(np.zeros((40, 3, 8, 3), np.uint8)), {}, "both could be channels.*layout"),
        (_npz(np.zeros((40, 3, 8, 3), np.uint8)), {"layout": "chw"}, "nhwc or nchw; found 'chw'"),
        (_npz(X[:, :0]), {}, r"found the shape \(40, 0, 8\)"),
        (_npz(X.astype(str)), {}, "pictures as numbers"),
        (_npz(X.astype(complex)), {}, "pictures as numbers"),
        (_npz(X / 255.0 - 0.5), {}, r"found -0.5 to 0.5. Write `options: {range: \[-0.5, 0.5\]}`"),
        (_npz(X / 17.0), {}, "found 0 to 15"),
        (_npz(X.astype(np.int64) * 9), {}, "found 0 to 2295"),
        (_npz(np.where(X.max() == X, np.nan, X)), {}, "some are missing or infinite"),
        (_npz(np.where(X.max() == X, np.inf, X)), {}, "some are missing or infinite"),
        (_npz(X / 1.0), {"range": [0, 100]}, r"within \[0, 100\] in a.npz; found 0 to 255"),
        (_npz(X / 1.0), {"range": 255}, "the option range as"),
        (_npz(X[:1].repeat(40, axis=0)), {}, "at least 20 different items with a class in a.npz; found 0"),
        (_npz(X, y=np.zeros(40)), {}, "at least 2 classes in a.npz; all 40 are '0'"),
        (_npz(X, y=np.arange(40)), {}, "found 40 classes of 40 items"),
        (_npz(X[:2]), {}, "at least 20 different items"),
        (_npz(X), {"sise": 9}, r"found \['sise'\]"),
        (_npz(X), {"size": "large"}, "Expected the option size"),
        (_folder(), {}, "there is no"),
        (_folder("a/1.png", "b/2.png"), {}, r"(a/1|b/2)\.png is none"),
        (_folder("a/1.png", content=b""), {}, r"a/1\.png is empty"),
        (_folder("1.png", "2.png"), {}, "a folder for each class"),
        (_folder("a/1.docx", "b/2.docx"), {}, r"found 2 with \.docx"),
        (_folder("a/1.svg", "b/2.heic"), {}, r"found 1 with \.svg, 1 with \.heic"),
        (_folder(".a/1.png"), {}, "found no files"),
    ],
)
def test_what_is_no_task_of_pictures_is_refused(tmp_path, make, options, match):
    source = make(tmp_path)
    with pytest.raises(InvalidTaskError, match=match):
        read(source, options=options)
