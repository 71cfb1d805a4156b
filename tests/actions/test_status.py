"""What the status says of a folder without a champion: shipped, local or no knowledge."""

import pytest

from metaflow_hpo.actions.status import read_status
from metaflow_hpo.adapters.files import write_frame
from metaflow_hpo.adapters.knowledge import open_knowledge
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.settings import Settings


@pytest.fixture
def fresh(tmp_path):
    """Surroundings right after the installation: an empty folder, and the knowledge that ships."""
    return Pipeline(Settings(data=tmp_path / "fresh" / "data"))


def test_the_status_of_an_empty_folder_is_that_of_the_shipped_knowledge_and_makes_nothing(fresh) -> None:
    report, provenance = read_status(fresh), open_knowledge().provenance
    assert report["champion"] is None
    assert report["knowledge"]["source"] == "shipped"
    for name in ("tasks", "families", "trials", "learners", "meta_dataset_md5"):
        assert report["knowledge"][name] == provenance[name]
    assert report["shipped"]["files"] == provenance["files"]
    assert not fresh.settings.data.exists()


def test_the_status_counts_the_local_meta_data_set_where_there_is_one(fresh) -> None:
    frame = open_knowledge().read_meta_dataset()
    task = frame["task_id"].iloc[0]
    rows = frame.loc[(frame["task_id"] == task) & (frame["learner"] == "mlp")]
    write_frame(fresh.store.meta_dataset_path, rows)
    found = read_status(fresh)["knowledge"]
    assert (found["source"], found["tasks"], found["trials"]) == ("local", 1, len(rows))
    assert found["learners"] == {"mlp": {"tasks": 1, "trials": len(rows)}}


def test_the_status_of_a_package_without_knowledge_is_empty(fresh, monkeypatch) -> None:
    monkeypatch.setattr("metaflow_hpo.adapters.pipeline.find_shipped", lambda learner: None)
    report = read_status(fresh)
    assert report["shipped"] is None
    assert (report["knowledge"]["trials"], report["knowledge"]["source"]) == (0, "none")
