"""Series as tasks: the same content is the same task in every format, and what is odd is handled and said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.registry import find_modality, read_source
from tests.modalities.series.own_series import draw_series, write_ts, write_tsv

WAVES, LABELS = draw_series()
SERIES = list(WAVES)


def read(path: Path, **given: Any) -> ItemData:
    data = read_source(path, **given)
    assert isinstance(data, ItemData)
    return data


def value_of(data: ItemData) -> dict[bytes, str]:
    """Return the class of each series by its values."""
    names = data.class_names
    return {data.items.one(i).tobytes(): names[label] for i, label in enumerate(data.target)}


def write_all(folder: Path) -> dict[str, Path]:
    """Write the same series in every format."""
    steps = [f"t_{i}" for i in range(WAVES.shape[2])]
    rows = [",".join([label, *map(str, one[0])]) for one, label in zip(SERIES, LABELS, strict=True)]
    wide = folder / "wide.csv"
    wide.write_text("\n".join([",".join(["label", *steps]), *rows]))
    long = folder / "long.csv"
    points = [
        f"{i},{t},{one[0, t]},{LABELS[i]}" for i, one in enumerate(SERIES) for t in reversed(range(WAVES.shape[2]))
    ]
    long.write_text("\n".join(["id,time,value,label", *points]))
    attributes = [f"@attribute att{i} numeric" for i in range(WAVES.shape[2])]
    lines = [",".join([*map(str, one[0]), label]) for one, label in zip(SERIES, LABELS, strict=True)]
    arff = folder / "flat.arff"
    arff.write_text("\n".join(["@relation own", *attributes, "@attribute class {low,high}", "@data", *lines]))
    np.savez(folder / "arrays.npz", X=WAVES, y=np.array(LABELS))
    return {
        "ts": write_ts(folder / "own.ts", SERIES, LABELS),
        "wide": wide,
        "long": long,
        "arff": arff,
        "npz": folder / "arrays.npz",
    }


def test_the_same_series_are_the_same_task_in_every_format(tmp_path: Path) -> None:
    files = write_all(tmp_path)
    expected = read(files["ts"])
    assert value_of(expected) == {one.tobytes(): label for one, label in zip(SERIES, LABELS, strict=True)}
    assert (expected.task.rows, expected.task.test_rows, expected.task.columns) == (60, 12, 1)
    for name, path in files.items():
        data = read(path, modality="series" if name in {"long", "npz"} else None)
        assert data.task.sha256 == expected.task.sha256, name
        assert value_of(data) == value_of(expected), name


def test_the_order_of_the_file_plays_no_role(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(60)
    one = read(write_ts(tmp_path / "a.ts", SERIES, LABELS))
    other = read(write_ts(tmp_path / "b.ts", [SERIES[i] for i in order], [LABELS[i] for i in order]))
    assert one.task.sha256 == other.task.sha256
    np.testing.assert_array_equal(one.items.values, other.items.values)


def test_the_series_of_the_test_part_are_the_test_rows(tmp_path: Path) -> None:
    labels = ["1" if label == "low" else "-1" for label in LABELS]
    write_tsv(tmp_path / "Own_TRAIN.tsv", SERIES[:40], labels[:40])
    write_tsv(tmp_path / "Own_TEST.tsv", SERIES[40:], labels[40:])
    for source in (tmp_path / "Own_TRAIN.tsv", tmp_path / "Own_TEST.tsv", tmp_path):
        data = read(source)
        assert data.task.test_rows == 20
        expected = {one.tobytes() for one in SERIES[40:]}
        assert {data.items.one(i).tobytes() for i in np.flatnonzero(data.is_test)} == expected
        assert data.class_names == ("-1", "1")
    assert read(tmp_path / "Own_TEST.tsv").task.task_id == "own"
    assert "Took the 20 series of the test part as test rows." in data.task.notes


def test_test_rows_that_are_given_count_positions_in_the_file_also_where_series_are_left_out(tmp_path: Path) -> None:
    nothing = np.full((1, 40), np.nan, np.float32)
    path = write_ts(tmp_path / "own.ts", [nothing, *SERIES], ["low", *LABELS])
    data = read(path, test_rows=(0, 1, 2, 60))
    assert "Left out 1 series without a value." in data.task.notes
    expected = {SERIES[i].tobytes() for i in (0, 1, 59)}
    assert {data.items.one(i).tobytes() for i in np.flatnonzero(data.is_test)} == expected
    with pytest.raises(InvalidTaskError, match="test_rows below 61"):
        read(path, test_rows=(61,))


def test_unequal_lengths_gaps_and_channels_are_kept(tmp_path: Path) -> None:
    waves, labels = draw_series(channels=2)
    waves[3, 0, 5] = np.nan
    series = [one[:, : 20 + i % 21] for i, one in enumerate(waves)]
    data = read(write_ts(tmp_path / "own.ts", series, labels))
    assert sorted(data.items.lengths) == sorted(20 + i % 21 for i in range(60))
    assert set(value_of(data)) == {one.tobytes() for one in series}
    assert np.isnan(data.items.values).sum() == 1 + 2 * (60 * 40 - sum(20 + i % 21 for i in range(60)))


def test_long_series_are_averaged_down_and_that_is_said(tmp_path: Path) -> None:
    waves, labels = draw_series(steps=1030)
    path = write_ts(tmp_path / "own.ts", list(waves), labels)
    data = read(path)
    assert data.items.values.shape[2] == 344
    assert "Averaged each 3 neighbouring steps: the longest series of 1030 had too many." in data.task.notes
    expected = waves[0, 0, :1029].reshape(343, 3).mean(axis=1)
    nearest = np.abs(data.items.values[:, 0, :343] - expected).max(axis=1).min()
    assert nearest < 1e-6
    assert read(path, options={"steps": 2000}).items.values.shape[2] == 1030


def test_scaled_copies_stay_on_one_side_and_exact_ones_are_dropped(tmp_path: Path) -> None:
    series = [*SERIES, *(3 * one + 5 for one in SERIES[:20]), SERIES[0]]
    data = read(write_ts(tmp_path / "own.ts", series, [*LABELS, *LABELS[:20], LABELS[0]]))
    assert data.task.rows == 80
    assert data.groups is not None
    assert len(np.unique(data.groups)) == 60
    assert not set(data.groups[data.is_test]) & set(data.groups[~data.is_test])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 2}, "option steps"), ({"steps": "all"}, "option steps"), ({"step": 9}, "Expected only the options")],
)
def test_unusable_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        read(write_ts(tmp_path / "own.ts", SERIES, LABELS), options=options)


@pytest.mark.parametrize(
    ("series", "labels", "message"),
    [
        (SERIES[:10], LABELS[:10], "at least 20 different items"),
        (SERIES, ["one"] * 60, "at least 2 classes"),
        (SERIES, [f"c{i}" for i in range(60)], "at most 1000 classes, each with several items"),
        ([one[:, :2] for one in SERIES], LABELS, "at least 3 steps"),
        ([np.full((1, 5), np.nan, np.float32)] * 60, LABELS, "all are missing"),
    ],
)
def test_what_cannot_be_a_task_is_refused(tmp_path: Path, series: list[Any], labels: list[str], message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        read(write_ts(tmp_path / "own.ts", series, labels))


def test_parts_of_different_channels_are_refused(tmp_path: Path) -> None:
    write_ts(tmp_path / "Own_TRAIN.ts", SERIES[:40], LABELS[:40])
    write_ts(tmp_path / "Own_TEST.ts", list(draw_series(channels=2)[0][:20]), LABELS[:20])
    with pytest.raises(InvalidTaskError, match="as many channels"):
        read(tmp_path / "Own_TRAIN.ts")


def test_short_series_beside_a_very_long_one_become_few_steps(tmp_path: Path) -> None:
    series = [*SERIES, np.arange(5_120, dtype=np.float32)[None]]
    data = read(write_ts(tmp_path / "own.ts", series, [*LABELS, "low"]))
    assert data.items.values.shape == (61, 1, 512)
    assert sorted(set(data.items.lengths.tolist())) == [4, 512]


def test_columns_can_be_dropped_of_tables_alone(tmp_path: Path) -> None:
    with pytest.raises(InvalidTaskError, match="Expected no `drop`"):
        read(write_ts(tmp_path / "own.ts", SERIES, LABELS), drop=("a",))
    wide = write_all(tmp_path)["wide"]
    wide.write_text(
        "\n".join(f"{line},{'age' if i == 0 else i}" for i, line in enumerate(wide.read_text().splitlines()))
    )
    assert read(wide, modality="series", drop=("age",)).task.rows == 60


def test_a_file_of_another_sort_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "own.mat").write_bytes(b"x")
    with pytest.raises(InvalidTaskError, match="Expected series in a file ending in"):
        read(tmp_path / "own.mat", modality="series")


@pytest.mark.parametrize(
    ("name", "content", "modality"),
    [
        ("own.ts", "@problemName x\n", "series"),
        ("code.ts", "export const a = 1;\n", "table"),
        ("own.tsv", "1" + "\t0.5" * 9 + "\n", "series"),
        ("own.tsv", "a\tb\tclass\n1\t2\tu\n", "table"),
        ("own.csv", "class," + ",".join(f"t{i}" for i in range(9)) + "\n", "series"),
        ("own.csv", "class," + ",".join(f"x{i}" for i in range(9)) + "\n", "table"),
        ("own.csv", "", "table"),
    ],
)
def test_series_are_recognised_and_tables_stay_tables(tmp_path: Path, name: str, content: str, modality: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert find_modality(path).name == modality


@pytest.mark.parametrize("name", ["t.ts", "t.tsv", "t.txt", "t.csv", "t.arff", "t.npz", "t.npy", "t.zip"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidTaskError, match=r"is empty \(0 bytes\)"):
        read_source(tmp_path / name)


@pytest.mark.parametrize("content", ["\n \n", "# only a comment\n", "\ufeff", "@classLabel true a b\n", "% x\n@data\n"])
def test_a_file_without_a_series_is_said_to_have_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.ts").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidTaskError, match=r"series after @data in t\.ts; found none|@classLabel"):
        read_source(tmp_path / "t.ts")
