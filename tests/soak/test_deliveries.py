"""What the soak delivers: good files are tasks in whatever form and by whatever name, bad ones are refused."""

import re
from pathlib import Path

import pytest

from metaflow_hpo.actions import intake
from metaflow_hpo.adapters import landed
from metaflow_hpo.adapters.ledger import ACCEPTED
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.modalities.hints import task_id_of
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.task import is_name_apart
from tests.soak import deliveries


@pytest.mark.parametrize("number", range(len(deliveries.FORMS)))
def test_a_good_file_is_the_same_task_in_every_form(tmp_path: Path, number: int) -> None:
    kind = deliveries.FORMS[number]
    part = tmp_path / f"good{kind.ending}.part"
    kind.write(deliveries.make_table(0), part)
    path = part.rename(tmp_path / f"good{kind.ending}")
    deliveries.make_table(0).to_csv(tmp_path / "plain.csv", index=False)
    assert read_source(path).task.sha256 == read_source(tmp_path / "plain.csv").task.sha256


def test_all_good_files_are_tasks_of_their_own_and_all_bad_ones_lie_in_quarantine_with_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landed, "SETTLED_S", 0.0)
    store, count = DataStore(tmp_path / "data"), len(deliveries.KINDS)
    store.inbox.mkdir(parents=True)
    bads = deliveries.bad_files(store.inbox)
    names = [deliveries.good_name(number) for number in range(count)]
    for number, name in enumerate(names):
        deliveries.land(store.inbox, name, deliveries.write_good(number))
    for bad in bads:
        deliveries.land(store.inbox, bad.name, bad.write)
    found = intake.take_in(store, [])
    ids = {one.file: one.task_id for one in found.fresh if one.outcome == ACCEPTED}
    assert sorted(ids) == sorted(names)
    assert len(set(ids.values())) == count
    for name, task_id in ids.items():
        expected = task_id_of(Path(name))
        assert task_id == expected or (is_name_apart(task_id, expected) and expected in ids.values())
    assert len({data.task.modality for data in found.tasks}) == 4
    assert [bad.name for bad in bads if not deliveries.reason_is_given(store.quarantine, bad)] == []
    assert sorted(path.name for path in store.inbox.iterdir()) == sorted(names)
    shown = [path for path in store.quarantine.iterdir() if not re.fullmatch(r"[\w. -]+", path.name)]
    assert shown == []
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize(
    ("stem", "columns", "classes"),
    [
        ("rare", 4, ("also", "often")),
        ("None", 5, ("None", "some")),
        ("2026-01-02", 6, ("no", "yes")),
        ("é", 4, ("no", "yes")),
        ("CON", 5, ("no", "yes")),
        ("<b>", 4, ("no", "yes")),
        ("good&", 4, ("007", "042")),
    ],
)
def test_what_stands_in_a_good_file_is_read_as_it_is_meant(
    tmp_path: Path, stem: str, columns: int, classes: tuple[str, ...]
) -> None:
    [kind] = [one for one in deliveries.CONTENTS if one.stem.startswith(stem)]
    kind.write(deliveries.make_table(1), tmp_path / f"a{kind.ending}")
    data = read_source(tmp_path / f"a{kind.ending}")
    assert (data.task.columns, data.class_names) == (columns, classes)  # type: ignore[attr-defined]


def test_picked_files_are_of_many_kinds_and_the_first_is_among_them() -> None:
    count = len(deliveries.KINDS)
    for seed in range(count):
        picked = deliveries.pick(4, count, seed)
        assert picked[0] == 0
        assert len(picked) == 4
        assert picked[-1] < count
    assert set().union(*(deliveries.pick(4, count, seed) for seed in range(count))) == {0, *range(count // 4, count)}
    assert deliveries.pick(count, count, 5) == list(range(count))
