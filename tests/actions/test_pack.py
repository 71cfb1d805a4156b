"""Packing a data folder, reading it back, and starting a data folder from it; and the knowledge that ships."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.actions.pack import MAX_BYTES, pack, unpack
from metaflow_hpo.adapters.files import write_frame
from metaflow_hpo.adapters.knowledge import CURVE_TOLERANCE, Knowledge, open_knowledge, shipped_folder
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.adapters.versioning import file_md5
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.modalities.table.meta_features import TABLE_GROUP
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.trial import Trial

EXACT = ["configuration_id", "strategy", "seed", "fidelity_epochs", "status", "reason", "task_sha256"]


def make_task(task_id, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60), "y": ["p", "q"] * 30})
    return prepare_task(frame, task_id=task_id, target="y", source="test", licence="CC0", family=f"family of {task_id}")


def make_trials(data, learner, rng, count=5):
    chosen = get_learner(learner)
    made = []
    for i, configuration in enumerate(chosen.space.from_unit(rng.random((count, len(chosen.space.names))))):
        scores = {"accuracy": rng.random(), "balanced_accuracy": rng.random(), "test_accuracy": rng.random()}
        failed = i == count - 1
        made.append(
            Trial(
                task_id=data.task.task_id,
                family=data.task.family,
                learner=learner,
                configuration=configuration,
                strategy="sobol",
                seed=i % 2,
                fidelity=chosen.fidelity.maximum,
                performance=np.nan if failed else rng.random(),
                test_performance=np.nan if failed else rng.random(),
                duration_s=rng.random(),
                status="failed" if failed else "ok",
                reason="diverged" if failed else "",
                scores={} if failed else scores,
                learning_curve=(-1e9, 0.5) if failed else tuple(rng.random(6).tolist()),
            )
        )
    return made


@pytest.fixture
def store(tmp_path):
    """A data folder with two tasks, two learners and a meta-data set."""
    made, rng = DataStore(tmp_path / "data"), np.random.default_rng(0)
    tasks = [make_task("first"), make_task("second", 1)]
    made.write_catalogue(tasks)
    for data in tasks:
        made.write_trials(data.task, [*make_trials(data, "svm", rng), *make_trials(data, "mlp", rng)])
        made.write_meta_features(data.task, {"mf_a": rng.random(), "mf_b": rng.random()}, 0.25)
    made.write_meta_dataset(made.task_ids())
    return made


@pytest.fixture
def recommender(store, served, tmp_path):
    """The folder of a recommender that says it was fitted on this meta-data set."""
    folder = tmp_path / "recommender"
    folder.mkdir()
    replace(served, lineage={"meta_dataset_md5": file_md5(store.meta_dataset_path)}).save(folder)
    return folder


@pytest.fixture
def knowledge(store, recommender, tmp_path):
    pack(store.data, tmp_path / "packed", [recommender])
    return Knowledge(tmp_path / "packed")


def assert_same_trials(found, expected):
    """Hyperparameters and names to the bit; outcomes and curves to the stated precision."""
    assert set(found.columns) == set(expected.columns)
    found = found[expected.columns]
    exact = [*EXACT, *(n for n in expected.columns if str(n).startswith(("hp_", "mf_")))]
    pd.testing.assert_frame_equal(found[exact], expected[exact], check_exact=True)
    pd.testing.assert_frame_equal(
        found.drop(columns="learning_curve"), expected.drop(columns="learning_curve"), rtol=1e-6, atol=0
    )
    for a, b in zip(found["learning_curve"], expected["learning_curve"], strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, np.clip(b, -65504, 65504), rtol=CURVE_TOLERANCE)


def test_the_meta_data_set_comes_back_to_the_stated_precision(store, knowledge):
    assert_same_trials(knowledge.read_meta_dataset(), store.read_meta_dataset())


def test_the_catalogue_comes_back_with_its_licences_sources_and_digests(store, knowledge):
    pd.testing.assert_frame_equal(knowledge.read_catalogue(), store.read_catalogue())


def test_the_provenance_counts_what_was_packed(store, knowledge, served):
    found = knowledge.provenance
    assert (found["tasks"], found["families"], found["trials"]) == (2, 2, 20)
    assert found["learners"] == {"mlp": {"tasks": 2, "trials": 10}, "svm": {"tasks": 2, "trials": 10}}
    assert found["meta_dataset_md5"] == file_md5(store.meta_dataset_path)
    frame = store.read_meta_dataset()
    assert sum(found["cost_s"].values()) == pytest.approx(frame["duration_s"].sum() + 2 * 0.25)
    assert sum(line["failed"] for line in found["settings"]) == 4
    assert list(found["recommenders"]) == ["mlp"]
    assert found["recommenders"]["mlp"]["tasks"] == len(served.past.task_ids)
    assert knowledge.recommender_folder("svm") is None
    assert found["bytes"] == sum((knowledge.folder / name).stat().st_size for name in found["files"])


def test_the_same_knowledge_gives_the_same_bytes(store, recommender, knowledge, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    again = pack(store.data, tmp_path / "again", [recommender])
    assert again["files"] == knowledge.provenance["files"]
    assert again["packed_at"] == "1970-01-01T00:00:00+00:00"
    assert pack(store.data, tmp_path / "again", [recommender]) == again


def test_a_changed_or_missing_file_is_named(knowledge):
    knowledge.verify()
    path = knowledge.folder / "mlp" / "surrogate.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (knowledge.folder / "tasks.parquet").unlink()
    with pytest.raises(InvalidTableError, match=r"missing \['tasks.parquet'\], changed \['mlp/surrogate.saf"):
        knowledge.verify()
    with pytest.raises(InvalidTableError, match="install metaflow-hpo again"):
        knowledge.read_catalogue()


def test_a_table_cut_short_is_refused(knowledge):
    path = knowledge.folder / "trials.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidTableError, match=r"changed \['trials.parquet'\].*install metaflow-hpo again"):
        knowledge.read_trials()


def test_a_recommender_of_another_meta_data_set_is_refused(store, served_folder, tmp_path):
    with pytest.raises(InvalidTableError, match=r"was fitted on abc\. Run `metaflow-hpo fit` for the learner 'mlp'"):
        pack(store.data, tmp_path / "packed", [served_folder])
    assert not (tmp_path / "packed").exists()


def test_two_recommenders_of_one_learner_are_refused(store, recommender, tmp_path):
    with pytest.raises(InvalidTableError, match="one recommender of 'mlp'"):
        pack(store.data, tmp_path / "packed", [recommender, shutil.copytree(recommender, tmp_path / "copy")])


def test_trials_of_other_rows_than_the_catalogue_lists_are_refused(store, recommender, tmp_path):
    catalogue = store.read_catalogue()
    catalogue.loc[catalogue["task_id"] == "second", "sha256"] = "0" * 64
    write_frame(store.catalogue_path, catalogue)
    with pytest.raises(InvalidTableError, match=r"differ.*\['second'\] \(1 in all\)"):
        pack(store.data, tmp_path / "packed", [recommender])


def test_an_unpacked_folder_holds_the_meta_data_set_and_knows_the_trials(store, knowledge, tmp_path):
    fresh = DataStore(tmp_path / "fresh")
    assert unpack(knowledge, fresh.data) == ["first", "second"]
    assert_same_trials(fresh.read_meta_dataset(), store.read_meta_dataset())
    data = store.read_task("first")
    assert [t.key for t in fresh.read_trials(data.task)] == [t.key for t in store.read_trials(data.task)]
    assert fresh.has_meta_features(data.task, ["mf_a", "mf_b"])


def test_unpacking_keeps_what_a_person_has_searched(store, knowledge, tmp_path):
    own, rng = DataStore(tmp_path / "own"), np.random.default_rng(1)
    tasks = [make_task("first"), make_task("mine", 2)]
    own.write_catalogue(tasks)
    own.write_trials(tasks[1].task, make_trials(tasks[1], "mlp", rng))
    own.write_meta_features(tasks[1].task, {"mf_a": 1.0, "mf_b": 2.0}, 0.1)
    own.write_trials(tasks[0].task, make_trials(tasks[0], "mlp", rng, count=2))
    own.write_meta_features(tasks[0].task, {"mf_a": 1.0, "mf_b": 2.0}, 0.1)
    assert unpack(knowledge, own.data) == ["second"]
    assert own.read_meta_dataset()["task_id"].value_counts().to_dict() == {"second": 10, "mine": 5, "first": 2}
    assert own.task_ids() == ["first", "mine", "second"]
    assert unpack(knowledge, own.data) == []


def test_a_folder_without_knowledge_is_none(tmp_path):
    assert open_knowledge(tmp_path) is None


def test_the_shipped_knowledge_is_whole_light_and_of_this_version():
    shipped = open_knowledge()
    assert shipped is not None, f"{shipped_folder()} is empty; run `metaflow-hpo pack`"
    shipped.verify()
    assert sum(f.stat().st_size for f in shipped.folder.rglob("*") if f.is_file()) <= MAX_BYTES
    names = set(shipped.provenance["files"]) | {"provenance.json"}
    assert names == {f.relative_to(shipped.folder).as_posix() for f in shipped.folder.rglob("*") if f.is_file()}
    frame = shipped.read_meta_dataset()
    assert len(frame) == shipped.provenance["trials"]
    assert set(TABLE_GROUP.columns) == {name for name in frame.columns if str(name).startswith("mf_")}
    catalogue = shipped.read_catalogue()
    assert (catalogue[["licence", "source", "sha256"]] != "").all(axis=None)


@pytest.mark.parametrize("learner", ["mlp", "svm"])
def test_a_shipped_recommender_answers_for_its_past_tasks(learner):
    shipped = open_knowledge()
    folder = shipped.recommender_folder(learner)
    served = Recommender.load(folder)
    # Otherwise the knowledge was packed by another version: pack it again.
    assert set(served.meta_feature_names) == set(TABLE_GROUP.columns)
    assert served.surrogate.space == get_learner(learner).space
    assert served.lineage["meta_dataset_md5"] == shipped.provenance["meta_dataset_md5"]
    row = dict(zip(served.meta_feature_names, served.past.meta_features[0].tolist(), strict=True))
    answer = served.recommend(row, 3)
    assert len({str(r["configuration"]) for r in answer["recommendations"]}) == 3
    assert answer["evidence"]["nearest_tasks"][0]["task_id"] == served.past.task_ids[0]
