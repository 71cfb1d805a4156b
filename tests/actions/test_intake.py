"""What lands in the inbox: accepted once, refused with a reason, never followed out of its folder."""

import gzip
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from metaflow_hpo.actions.add_file import add_file
from metaflow_hpo.actions.intake import Intake, find_pending, take_in
from metaflow_hpo.adapters import landed
from metaflow_hpo.adapters.ledger import read_ledger
from metaflow_hpo.adapters.quarantine import drop_moved_sidecars
from metaflow_hpo.adapters.sources import inbox as inbox_source
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.registry import read_source


def table(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(size=60).round(6), "b": rng.choice(["u", "v"], 60), "y": [0, 1] * 30})


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    (tmp_path / "data" / "inbox").mkdir(parents=True)
    return DataStore(tmp_path / "data")


def age(path: Path) -> Path:
    """Date a file back, so that nobody waits for it to settle."""
    then = time.time() - 60
    os.utime(path, (then, then), follow_symlinks=False)
    return path


def land(store: DataStore, name: str, content: str | bytes | None = None, seed: int = 0) -> Path:
    path = store.inbox / name
    text = table(seed).to_csv(index=False) if content is None else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return age(path)


def ids(found: Intake) -> list[str]:
    return [data.task.task_id for data in found.tasks]


def outcomes(store: DataStore) -> list[tuple[str, str]]:
    return [(delivery.file, delivery.outcome) for delivery in read_ledger(store)]


def test_ten_good_and_three_bad_files_are_sorted_once(store: DataStore) -> None:
    for number in range(10):
        land(store, f"good_{number}.csv", seed=number)
    land(store, "cut.csv", "a,y\n1\n")
    land(store, "no_target.csv", "a,b\n" + "1,2\n3,4\n" * 20)
    land(store, "archive.tar", b"ustar")
    assert len(find_pending(store)) == 13
    assert len(ids(take_in(store, []))) == 10
    assert sorted(p.name for p in store.quarantine.iterdir()) == [
        "archive.tar",
        "archive.tar.reason.txt",
        "cut.csv",
        "cut.csv.reason.txt",
        "no_target.csv",
        "no_target.csv.reason.txt",
    ]
    assert "Expected 2 fields" in (store.quarantine / "cut.csv.reason.txt").read_text()
    assert "was not opened" in (store.quarantine / "archive.tar.reason.txt").read_text()
    assert find_pending(store) == []
    before = outcomes(store)
    assert len(ids(take_in(store, []))) == 10
    assert outcomes(store) == before
    assert len(before) == 13


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.csv", "a,y\n1\n"),
        ("empty.csv", ""),
        ("noise.parquet", b"PAR1 and no more"),
        ("binary.csv", b"\x00\x01" * 50),
        ("beside.csv", None),
    ],
)
def test_a_reason_names_the_file_without_the_folders_of_this_machine(
    store: DataStore, name: str, content: str | bytes | None
) -> None:
    land(store, name, content)
    if content is None:
        land(store, "beside.yaml", "colour: red\n")
    take_in(store, [])
    reason = (store.quarantine / f"{name}.reason.txt").read_text()
    assert reason.count(Path(name).stem) >= 2  # the heading and the reason
    assert str(store.data) not in reason
    assert str(store.data) not in read_ledger(store)[-1].reason


def test_the_same_data_under_another_name_are_a_duplicate_whatever_the_order_of_rows(store: DataStore) -> None:
    land(store, "first.csv")
    assert ids(take_in(store, [])) == ["first"]
    table().sample(frac=1, random_state=1).to_parquet(store.inbox / "again.parquet")
    age(store.inbox / "again.parquet")
    assert ids(take_in(store, [])) == ["first"]
    assert outcomes(store)[-1] == ("again.parquet", "duplicate")
    reason = (store.quarantine / "again.parquet.reason.txt").read_text()
    assert "the task 'first', which is there already" in reason


def test_a_duplicate_of_a_task_that_ships_with_the_package_is_recognised(store: DataStore) -> None:
    path = land(store, "mine.csv")
    shipped = read_source(path)
    shipped = replace(shipped, task=replace(shipped.task, task_id="shipped"))
    assert ids(take_in(store, [shipped])) == []
    assert (read_ledger(store)[-1].outcome, read_ledger(store)[-1].task_id) == ("duplicate", "shipped")


def test_a_taken_name_is_refused_and_the_others_are_kept(store: DataStore) -> None:
    land(store, "one.csv")
    land(store, "two.csv", seed=1)
    land(store, "two.yaml", "task_id: one\n")
    assert ids(take_in(store, [])) == ["one"]
    assert "name of another task" in (store.quarantine / "two.csv.reason.txt").read_text()
    assert (store.quarantine / "two.yaml").read_text() == "task_id: one\n"
    assert [p.name for p in store.inbox.iterdir()] == ["one.csv"]


def test_files_whose_names_make_one_id_become_tasks_of_their_own_and_keep_their_names(store: DataStore) -> None:
    names = ["my_data.csv", "My Data.csv", "my-data.csv", "my data.csv", "my (data).csv"]
    for seed, name in enumerate(names):
        land(store, name, seed=seed)
        assert len(ids(take_in(store, []))) == seed + 1  # one after the other: the first one has the plain name
    first = dict(zip([d.file for d in read_ledger(store)], [d.task_id for d in read_ledger(store)], strict=True))
    assert first["my_data.csv"] == "my_data"
    assert len(set(first.values())) == len(names)
    assert all(task_id.startswith("my_data") for task_id in first.values())
    land(store, "my data.csv", seed=70)  # a new version keeps the name of its task
    again = {data.task.source.removeprefix("inbox/"): data.task for data in take_in(store, []).tasks}
    assert {name: task.task_id for name, task in again.items()} == first
    assert again["my data.csv"].notes[-1] == f"Named {first['my data.csv']!r}, as another task is called 'my_data'."


def test_a_table_called_as_one_that_ships_is_a_task_of_its_own(store: DataStore) -> None:
    shipped = read_source(land(store, "iris.csv"))
    land(store, "iris.csv", seed=1)
    (mine,) = take_in(store, [shipped]).tasks
    assert mine.task.task_id == f"iris-{mine.task.sha256[:8]}"
    assert mine.task.family == "iris"


def test_a_new_version_of_a_file_is_taken_in_and_a_touched_one_is_known(store: DataStore) -> None:
    path = land(store, "mine.csv")
    first = take_in(store, []).tasks[0].task.sha256
    os.utime(path, (time.time() - 30, time.time() - 30))
    assert find_pending(store) == []
    land(store, "mine.csv", seed=1)
    assert find_pending(store) == ["mine.csv"]
    assert take_in(store, []).tasks[0].task.sha256 != first
    path.unlink()
    assert find_pending(store) == ["mine.csv"]
    assert ids(take_in(store, [])) == []
    assert outcomes(store)[-1] == ("mine.csv", "removed")
    assert find_pending(store) == []


def test_a_file_that_is_still_written_is_left_alone_until_it_is_whole(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landed, "SETTLED_S", 1.0)
    land(store, "partial.csv.part")
    path = store.inbox / "slow.csv"
    lines = table().to_csv(index=False).splitlines(keepends=True)
    path.write_text("".join(lines[:50]))
    assert find_pending(store) == []
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.05):
            path.touch()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert ids(take_in(store, [])) == []
    finally:
        stop.set()
        writer.join()
    assert path.is_file()
    path.write_text("".join(lines))
    monkeypatch.setattr(landed, "SETTLED_S", 0.3)
    found = take_in(store, [])  # waits that long
    assert found.tasks[0].task.rows == 60
    assert (store.inbox / "partial.csv.part").is_file()


def test_while_a_file_is_overwritten_its_task_stays_as_it_was(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(store, "mine.csv")
    store.write_catalogue(take_in(store, []).tasks)
    monkeypatch.setattr(landed, "is_settled", lambda _: False)
    monkeypatch.setattr(landed, "SETTLED_S", 0.0)
    (store.inbox / "mine.csv").write_text("a,b,y\n1,")
    assert take_in(store, []).tasks[0].task.rows == 60


def test_a_bad_file_delivered_twice_is_kept_once_and_another_of_its_name_beside_it(store: DataStore) -> None:
    for content in ("a,y\n1\n", "a,y\n1\n", "a,y\n2\n"):
        land(store, "bad.csv", content)
        take_in(store, [])
    kept = sorted(p.name for p in store.quarantine.glob("*.csv"))
    assert kept == ["bad-2.csv", "bad.csv"]
    assert (store.quarantine / "bad-2.csv.reason.txt").is_file()


def test_a_sidecar_left_by_a_kill_between_two_moves_is_removed_and_a_new_one_kept(store: DataStore) -> None:
    store.quarantine.mkdir()
    left = land(store, "x.yaml", "target: y\n")
    (store.quarantine / "x.yaml").write_text("target: y\n")
    (store.quarantine / "x.csv").write_text("bad")
    drop_moved_sidecars(store.inbox, store.quarantine)
    assert not left.exists()
    time.sleep(0.02)
    new = land(store, "x.yaml", "target: y\n")
    drop_moved_sidecars(store.inbox, store.quarantine)
    assert new.exists()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.csv"
    path.write_text("token,y\n" + "hush,1\nhush2,0\n" * 30)
    return path


def test_links_are_never_followed(store: DataStore, secret: Path) -> None:
    (store.inbox / "link.csv").symlink_to(secret)
    land(store, "mine.csv")
    (store.inbox / "mine.yaml").symlink_to(secret)
    assert ids(take_in(store, [])) == []
    for name in ("link.csv", "mine.csv"):
        reason = (store.quarantine / f"{name}.reason.txt").read_text()
        assert "symbolic link, which is never followed" in reason
        assert "hush" not in reason
    assert (store.quarantine / "link.csv").is_symlink()
    assert list(store.inbox.iterdir()) == []
    assert secret.is_file()


@pytest.mark.parametrize("task_id", ["../escaped", "/escaped", "a/b", "..", ".hidden", "a\\u0000b"])
def test_a_task_id_cannot_leave_the_folder(store: DataStore, task_id: str) -> None:
    land(store, "mine.csv")
    land(store, "mine.yaml", f'task_id: "{task_id}"\n')
    assert ids(take_in(store, [])) == []
    assert "task_id must match" in (store.quarantine / "mine.csv.reason.txt").read_text()
    assert not list(store.data.parent.glob("escaped*"))


def test_folders_and_pipes_called_like_tables_are_moved_unread(store: DataStore) -> None:
    (store.inbox / "folder.csv").mkdir()
    age(store.inbox / "folder.csv")
    os.mkfifo(store.inbox / "pipe.csv")
    age(store.inbox / "pipe.csv")
    assert ids(take_in(store, [])) == []
    assert outcomes(store) == [("folder.csv", "quarantined"), ("pipe.csv", "quarantined")]
    assert list(store.inbox.iterdir()) == []


def test_a_small_parquet_file_that_announces_billions_of_cells_is_not_read(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_source, "MAX_CELLS", 1_000_000)
    path = store.inbox / "bomb.parquet"
    parquet.write_table(pa.table({"a": pa.repeat(0.0, 2_000_000), "y": pa.repeat(1, 2_000_000)}), path)
    assert age(path).stat().st_size < 200_000
    monkeypatch.setattr(pd, "read_parquet", lambda *_, **__: pytest.fail("the bomb was read"))
    assert ids(take_in(store, [])) == []
    assert "2000000 rows of 2 columns" in (store.quarantine / "bomb.parquet.reason.txt").read_text()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("target: &a [x]\ndrop: *a\n", "no references"),
        ("drop: " + "[" * 100_000, "deep nesting"),
        ("# " + "x" * 300_000 + "\ntarget: y\n", "at most 262144 bytes"),
        ("target: !!python/object/apply:os.system ['touch escaped']\n", "Expected YAML"),
    ],
)
def test_hostile_sidecars_are_refused(store: DataStore, text: str, match: str) -> None:
    land(store, "mine.csv")
    land(store, "mine.yaml", text)
    assert ids(take_in(store, [])) == []
    assert match in (store.quarantine / "mine.csv.reason.txt").read_text()


def test_a_file_that_breaks_the_reader_does_not_keep_the_others_out(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(store, "mine.csv")
    nested = pa.table({"a": [[1, 2]] * 60, "b": [{"c": 1}] * 60, "y": [0, 1] * 30})
    parquet.write_table(nested, store.inbox / "nested.parquet")
    age(store.inbox / "nested.parquet")
    assert ids(take_in(store, [])) == ["mine"]
    assert (store.quarantine / "nested.parquet.reason.txt").is_file()


def test_add_copies_file_and_sidecar_and_knows_them_again(store: DataStore, tmp_path: Path) -> None:
    source = tmp_path / "My table.csv"
    table().rename(columns={"y": "outcome"}).to_csv(source, index=False)
    source.with_suffix(".yaml").write_text("family: mine\n")
    with pytest.raises(InvalidTaskError, match="which column"):
        add_file(store, source, {})
    with pytest.raises(InvalidTaskError, match="kind: Input should be"):
        add_file(store, source, {"target": "outcome", "kind": "ranking"})
    target = add_file(store, source, {"target": "outcome"})
    assert target == store.inbox / "My table.csv"
    assert target.with_suffix(".yaml").read_text() == "target: outcome\nfamily: mine\n"
    assert ids(take_in(store, [])) == ["my_table"]
    assert add_file(store, source, {"target": "outcome"}) == target
    assert find_pending(store) == []
    table(1).rename(columns={"y": "outcome"}).to_csv(source, index=False)
    with pytest.raises(InvalidTaskError, match="--replace"):
        add_file(store, source, {"target": "outcome"})
    add_file(store, source, {"target": "outcome"}, replace=True)
    assert find_pending(store) == ["My table.csv"]


@pytest.mark.parametrize("first", ["mine.CSV", "mine.csv", "mine.Parquet"])
def test_add_replaces_nothing_by_itself_however_the_ending_is_written(
    store: DataStore, tmp_path: Path, first: str
) -> None:
    for number, name in enumerate((first, "mine.CSV")):
        source = tmp_path / name
        table(number).to_parquet(source) if name.endswith("Parquet") else table(number).to_csv(source, index=False)
        if number == 0:
            there = add_file(store, source, {}).read_bytes()
    with pytest.raises(InvalidTaskError, match=f"Expected a new name; {first} is in"):
        add_file(store, source, {})
    assert [path.name for path in store.inbox.iterdir() if path.suffix.lower() != ".yaml"] == [first]
    assert (store.inbox / first).read_bytes() == there


def test_add_refuses_links_and_unknown_endings(store: DataStore, secret: Path) -> None:
    link = secret.with_name("link.csv")
    link.symlink_to(secret)
    with pytest.raises(InvalidTaskError, match="symbolic link"):
        add_file(store, link, {"target": "y"})
    other = secret.rename(secret.with_suffix(".xls"))
    with pytest.raises(InvalidTaskError, match="was not opened"):
        add_file(store, other, {})


def test_packed_files_come_in_with_their_sidecar_and_bad_ones_leave_with_it(store: DataStore) -> None:
    land(store, "good.csv.gz", gzip.compress(table().to_csv(index=False).encode()))
    land(store, "good.yaml", "target: b\n")
    land(store, "cut.csv.gz", gzip.compress(table(1).to_csv(index=False).encode())[:-9])
    land(store, "cut.yaml", "target: b\n")
    (data,) = take_in(store, []).tasks
    assert (data.task.task_id, data.task.target) == ("good", "b")
    assert sorted(path.name for path in store.quarantine.iterdir()) == [
        "cut.csv.gz",
        "cut.csv.gz.reason.txt",
        "cut.yaml",
    ]
    assert "cut short" in (store.quarantine / "cut.csv.gz.reason.txt").read_text()
    assert sorted(path.name for path in store.inbox.iterdir() if path.suffix != ".lock") == ["good.csv.gz", "good.yaml"]
    assert find_pending(store) == []


def test_a_packed_and_a_plain_file_of_one_name_are_one_task(store: DataStore, tmp_path: Path) -> None:
    land(store, "my.csv", seed=1)
    packed = tmp_path / "my.csv.gz"
    packed.write_bytes(gzip.compress(table(2).to_csv(index=False).encode()))
    with pytest.raises(InvalidTaskError, match=r"Expected a new name; my\.csv is in .* already"):
        add_file(store, packed, {"target": "y"}, replace=True)
    bad = land(store, "my.csv.gz", b"x")
    land(store, "my.yaml", "target: y\n")
    take_in(store, [])
    assert not bad.exists()
    assert (store.inbox / "my.yaml").exists()  # it is the sidecar of my.csv as well


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "kept.txt").write_text("kept")


STRANGE = {
    "an empty folder": Path.mkdir,
    "a folder with content": make_folder,
    "a link to a folder": lambda path: path.symlink_to(path.parent.parent, target_is_directory=True),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a pipe": os.mkfifo,
    "an empty file in place of YAML": lambda path: path.write_text("a: ["),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_sidecar_costs_its_own_table_alone(store: DataStore, kind: str) -> None:
    land(store, "a.csv")
    STRANGE[kind](store.inbox / "a.yaml")
    os.utime(store.inbox / "a.yaml", (1, 1), follow_symlinks=False)
    land(store, "z.csv", seed=1)
    found = take_in(store, [])
    assert ids(found) == ["z"]
    assert (store.quarantine / "a.csv").is_file()
    assert (store.quarantine / "a.csv.reason.txt").is_file()
    assert take_in(store, []).fresh == ()
    if kind == "a folder with content":
        assert (store.inbox / "a.yaml" / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize("taken", ["a.csv", "a.csv.reason.txt", "a.yaml"])
def test_folders_in_the_quarantine_are_not_written_over(store: DataStore, taken: str) -> None:
    (store.quarantine / taken).mkdir(parents=True)
    land(store, "a.csv", "no,table\n")
    land(store, "z.csv", seed=1)
    assert ids(take_in(store, [])) == ["z"]
    assert (store.quarantine / "a-2.csv").is_file()
    assert (store.quarantine / taken).is_dir()


def test_a_description_in_yaml_is_a_task_and_a_sidecar_waits_for_its_file(store: DataStore) -> None:
    land(store, "digits.yaml", "metric: accuracy\ndata: digits/3\nmeta_features: {rows: 100}\n")
    land(store, "later.yaml", "family: relatives\n")
    land(store, "my.csv")
    land(store, "my.yaml", "family: relatives\n")
    taken = take_in(store, [])
    assert [(d.task.task_id, d.task.modality, d.task.family) for d in taken.tasks] == [
        ("digits", "opaque", "digits"),
        ("my", "table", "relatives"),
    ]
    frame = store.write_catalogue(taken.tasks)
    assert frame["modality"].tolist() == ["opaque", "table"]
    assert store.read_task("digits").task == taken.tasks[0].task
    land(store, "later.csv", seed=1)
    assert sorted(ids(take_in(store, []))) == ["digits", "later", "my"]


def test_a_description_is_added_as_it_is_and_takes_no_sidecar(store: DataStore, tmp_path: Path) -> None:
    source = tmp_path / "digits.yaml"
    source.write_text("metric: accuracy\ndata: digits/3\n")
    target = add_file(store, source, {"family": None})
    assert target.read_text() == source.read_text()
    assert add_file(store, source, {}) == target
    with pytest.raises(InvalidTaskError, match=r"Expected family in digits.yaml itself"):
        add_file(store, source, {"family": "numbers"})
    assert source.read_text() == "metric: accuracy\ndata: digits/3\n"


def test_a_folder_that_no_modality_knows_is_not_added(store: DataStore, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InvalidTaskError, match="Expected a regular file; pictures is a folder"):
        add_file(store, tmp_path / "pictures", {})


def land_listing(store: DataStore, root: str) -> None:
    """Land a table that lists pictures below a folder that its sidecar names."""
    names = [f"{number}.png" for number in range(20)]
    land(store, "listing.csv", pd.DataFrame({"path": names, "y": ["a", "b"] * 10}).to_csv(index=False))
    land(store, "listing.yaml", f"options: {{root: {root!r}}}\n")


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(20):
        pixels = np.full((8, 8), 100 * (number % 2) + number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.mark.parametrize("root", ["{elsewhere}", "../../elsewhere", "../inbox_2", "~", "/"])
def test_files_outside_the_inbox_are_not_read_whatever_a_sidecar_says(store: DataStore, root: str) -> None:
    elsewhere = store.data.parent / "elsewhere"
    write_pictures(elsewhere)
    write_pictures(store.data / "inbox_2")
    land_listing(store, root.format(elsewhere=elsewhere))
    assert ids(take_in(store, [])) == []
    assert "to be a folder of the inbox" in (store.quarantine / "listing.csv.reason.txt").read_text()


def test_files_of_a_table_may_lie_in_a_folder_of_the_inbox(store: DataStore) -> None:
    write_pictures(store.inbox / ".files")
    land_listing(store, ".files")
    found = take_in(store, [])
    assert [(data.task.task_id, data.task.modality) for data in found.tasks] == [("listing", "image")]
