"""A damaged byte anywhere in a written file never gives an answer that differs: the same answer, or a message."""

import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import metaflow_hpo as hpo
from metaflow_hpo.adapters.files import read_frame, read_json, write_frame, write_json
from metaflow_hpo.adapters.kept_trials import KeptTrials, read_card, write_card
from metaflow_hpo.adapters.knowledge import Knowledge, shipped_folder
from metaflow_hpo.adapters.ledger import Delivery, note_delivery, read_ledger
from metaflow_hpo.adapters.observed_trials import read_observed_trials, write_trials_file
from metaflow_hpo.adapters.own_tasks import OwnTask, OwnTasks
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.adapters.trial_files import read_history
from metaflow_hpo.errors import InvalidTableError, MetaflowHPOError
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.learners.trained_rows import TrainedNetwork, fit_network
from metaflow_hpo.modalities.registry import get_modality, read_source
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.tables import trials_to_frame
from metaflow_hpo.task import OPAQUE, TABLE, TEXT
from metaflow_hpo.trial import Trial
from tests.conftest import make_history

FLIPS = 48
"""Damaged bytes a file: the first and last ones, and some between them."""


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        write: Writes into an empty folder.
        read: Returns what is read from there, as what can be compared.
    """

    write: Callable[[Path], object]
    read: Callable[[Path], object]


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.normal(size=60), "t": rng.choice(["u", "v"], 60), "y": ["a", "b"] * 30})


def write_table(folder: Path) -> Path:
    table().to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def make_trials(folder: Path) -> list[Trial]:
    task = read_source(write_table(folder), "y").task
    return [
        Trial(
            task_id=task.task_id,
            family=task.family,
            learner="mlp",
            configuration={**MLP.space.default, "learning_rate": 0.001 * (n + 1)},
            strategy="sobol",
            seed=n,
            fidelity=3,
            performance=0.5 + n / 9,
            test_performance=0.5,
            duration_s=0.25,
            scores={"accuracy": 0.5},
            learning_curve=(0.1, 0.2, 0.5 + n / 9),
        )
        for n in range(3)
    ]


def write_task(folder: Path, modality: str) -> None:
    (folder / "raw").mkdir()
    source = folder / "raw" / "task.csv"
    if modality == TABLE:
        table().to_csv(source, index=False)
    elif modality == TEXT:
        words = ["the boat is late today", "good bread and butter", "it rains in the north", "we walk home alone"]
        lines = [(f"{words[n % 4]} number {n} of many more", "ab"[n % 2]) for n in range(60)]
        pd.DataFrame(lines, columns=["text", "label"]).to_csv(source, index=False)
    else:
        source = folder / "raw" / "task.yaml"
        source.write_text("task_id: one\nmetric: accuracy\ndata: s3://bucket/one\nmeta_features: {rows: 100}\n")
    hints = {"modality": modality, **({} if modality == OPAQUE else {"target": "label" if modality == TEXT else "y"})}
    data = read_source(source, **hints)
    get_modality(modality).save(data, folder / f"one.{modality}")
    shutil.rmtree(folder / "raw")


def read_task(folder: Path, modality: str) -> object:
    data = get_modality(modality).load(folder / f"one.{modality}")
    return show({name: getattr(data, name) for name in vars(data)})


def show(value: Any) -> Any:
    """Return a value as texts, numbers and tuples."""
    if isinstance(value, pd.DataFrame):
        return show(value.to_dict("list"))
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes() if value.dtype.kind != "O" else show(value.tolist())
    if isinstance(value, Mapping):
        return tuple((str(key), show(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(show(item) for item in value)
    return repr(value)


def find_task(folder: Path) -> Any:
    source = folder / "table.csv"
    return read_source(source, "y").task


def write_history(path: Path) -> None:
    make_history(tasks=3, configurations=6).write(path)


def see_history(path: Path) -> object:
    history = read_history(path)
    return show([history.task_ids, history.families, history.configurations, history.performance])


def write_ledger(folder: Path) -> None:
    for number in range(3):
        note_delivery(DataStore(folder), Delivery(f"{number}.csv", "accepted", "1-2", "ab", f"t{number}", "cd"))


def write_network(folder: Path) -> None:
    source = folder / "raw.csv"
    table().to_csv(source, index=False)
    network = fit_network(read_source(source, "y"), "mlp", MLP.space.default, seed=0, epochs=1)  # type: ignore[arg-type]
    assert network is not None
    network.save(folder)
    source.unlink()


def ask_network(folder: Path) -> object:
    return show(TrainedNetwork.load(folder).predict(table()[["x", "t"]].head(5)))


def ask_recommender(folder: Path) -> object:
    recommender = Recommender.load(folder)
    row = dict(zip(recommender.meta_feature_names, recommender.past.meta_features[0].tolist(), strict=True))
    return show(recommender.recommend(row, 3))


def write_recommender(folder: Path) -> None:
    hpo.fit(make_history(tasks=6, configurations=8), networks="never").save(folder)


def write_knowledge(folder: Path) -> None:
    shutil.copytree(shipped_folder("series"), folder, dirs_exist_ok=True)


def ask_knowledge(folder: Path) -> object:
    knowledge = Knowledge(folder)
    found = knowledge.recommender_folder("series")
    tables = [knowledge.read_trials(), knowledge.read_catalogue(), knowledge.read_meta_features()]
    return [knowledge.version, knowledge.summary, found, *map(show, tables)]


FRAME = pd.DataFrame({"task_id": ["a", "b", "c"], "performance": [0.25, np.nan, 0.75], "seed": [1, 2, 3]})
KINDS = {
    "json": Kind(
        lambda folder: write_json(folder / "champion.json", {"version": 3, "reason": "better", "regret": 0.25}),
        lambda folder: show(read_json(folder / "champion.json")),
    ),
    "parquet": Kind(
        lambda folder: write_frame(folder / "a.parquet", FRAME), lambda folder: show(read_frame(folder / "a.parquet"))
    ),
    "exported trials": Kind(
        lambda folder: write_trials_file(folder / "out.parquet", trials_to_frame(make_trials(folder))),
        lambda folder: show(read_observed_trials(folder / "out.parquet", get_learner("mlp").space)),
    ),
    "kept trials": Kind(
        lambda folder: KeptTrials(folder / "kept").write_trials(find_task_after(folder), make_trials(folder)),
        lambda folder: show(KeptTrials(folder / "kept").read_trials(find_task(folder))),
    ),
    "history": Kind(
        lambda folder: write_history(folder / "h.parquet"), lambda folder: see_history(folder / "h.parquet")
    ),
    "ledger": Kind(write_ledger, lambda folder: show(read_ledger(DataStore(folder)))),
    "table": Kind(lambda folder: write_task(folder, TABLE), lambda folder: read_task(folder, TABLE)),
    "texts": Kind(lambda folder: write_task(folder, TEXT), lambda folder: read_task(folder, TEXT)),
    "opaque": Kind(lambda folder: write_task(folder, OPAQUE), lambda folder: read_task(folder, OPAQUE)),
    "own task": Kind(
        lambda folder: OwnTasks(folder / "own").write(
            OwnTask(find_task_after(folder), frozenset({"ab", "cd"}), {"mf_rows": 60.0})
        ),
        lambda folder: show([vars(own) for own in OwnTasks(folder / "own").read()]),
    ),
    "learner": Kind(
        lambda folder: write_card(folder, get_learner("svm")),
        lambda folder: repr(getattr(read_card(folder, "svm"), "space", None)),
    ),
    "network": Kind(write_network, ask_network),
    "recommender": Kind(write_recommender, ask_recommender),
    "knowledge": Kind(write_knowledge, ask_knowledge),
}


def find_task_after(folder: Path) -> Any:
    """Return the task of the table, which is written for it."""
    write_table(folder)
    return find_task(folder)


def positions(size: int, chance: random.Random, count: int) -> list[int]:
    """Return positions in a file, its first and last ones among them."""
    if size <= count:
        return list(range(size))
    edge = count // 4
    inside = chance.sample(range(edge, size - edge), min(count - 2 * edge, size - 2 * edge))
    return [*range(edge), *sorted(inside), *range(size - edge, size)]


@pytest.mark.parametrize("name", KINDS)
def test_no_damaged_byte_gives_another_answer(tmp_path: Path, name: str) -> None:
    kind, chance = KINDS[name], random.Random(name)
    kind.write(tmp_path)
    right = kind.read(tmp_path)
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.name != "table.csv"]
    assert files
    refused = 0
    for path in files:
        whole = path.read_bytes()
        slow = name in {"knowledge", "network", "recommender", "history", "texts"}
        for position in positions(len(whole), chance, FLIPS // 4 if slow else FLIPS):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            try:
                found = kind.read(tmp_path)
            except MetaflowHPOError:
                refused += 1
            else:  # of a seal whose name is damaged the rest is as it was; a journal may lose its last line
                assert found == right or is_part(found, right), f"{path.name}, byte {position} of {len(whole)}"
        for content in (b"", whole[: len(whole) // 2], whole[:-1]):
            path.write_bytes(content)
            try:
                found = kind.read(tmp_path)
            except MetaflowHPOError:
                refused += 1
            else:
                assert found == right or is_part(found, right), f"{path.name}, cut to {len(content)} bytes"
        path.write_bytes(whole)
    assert refused > FLIPS // 4
    assert kind.read(tmp_path) == right


def is_part(found: Any, right: Any) -> bool:
    """Tell whether all of one answer stands in the other: nothing in it is another value."""
    if not isinstance(found, tuple) or not isinstance(right, tuple):
        return False
    return found == right[: len(found)] or found[: len(right)] == right


def test_what_is_said_beside_a_csv_is_sealed(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    write_history(path)
    right, beside = see_history(path), tmp_path / "h.csv.json"
    assert json.loads(beside.read_text())["content_md5"]
    whole = beside.read_bytes()
    for position in range(0, len(whole), 7):
        beside.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            found = see_history(path)
        except InvalidTableError:
            continue
        assert found == right
