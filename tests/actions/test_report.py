"""The knowledge page of a data folder: what is read, what is left out, and the command."""

import json
from pathlib import Path

import pandas as pd
import pytest

from metaflow_hpo import cli
from metaflow_hpo.actions.report import read_knowledge, write_report
from metaflow_hpo.adapters.knowledge import open_knowledge
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.settings import Settings
from metaflow_hpo.trial import Trial


def make_task(task_id, shift):
    frame = pd.DataFrame({"a": [i + shift for i in range(60)], "b": [i % 7 for i in range(60)], "y": ["p", "q"] * 30})
    return prepare_task(frame, task_id=task_id, target="y", source="test", licence="none", family=task_id)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Three tasks; the third is not searched yet."""
    pipeline = Pipeline(Settings(data=tmp_path / "data", learner="svm"))
    tasks = [make_task("first", 0.5), make_task("second", 0.5), make_task("third", 2.5)]
    pipeline.store.write_catalogue(tasks)
    space = get_learner("svm").space
    for data in tasks[:2]:
        trials = [
            Trial(data.task.task_id, data.task.family, "svm", c, "grid", 0, 1, 0.5 + i / 50, 0.5, 0.25)
            for i, c in enumerate(space.grid(12))
        ]
        pipeline.store.write_trials(data.task, trials)
        pipeline.store.write_meta_features(data.task, {"mf_log_rows": 1.8}, 0.1)
    return pipeline


def test_what_is_searched_is_read_with_fingerprints_and_md5s(pipeline):
    knowledge = read_knowledge(pipeline)
    assert set(knowledge.trials["task_id"]) == {"first", "second"}
    assert len(knowledge.catalogue) == 3
    assert knowledge.fingerprints["first"] == knowledge.fingerprints["second"]
    assert len(knowledge.provenance["md5 of the catalogue"]) == 32


def test_the_page_is_written_with_shared_columns_among_its_findings(pipeline, tmp_path):
    written = write_report(pipeline, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert (written["tasks"], written["trials"]) == (2, len(read_knowledge(pipeline).trials))
    assert written["bytes"] == len(text.encode())
    assert "shares columns with second" in text


def test_a_stability_file_that_is_no_list_of_records_is_refused(pipeline, tmp_path):
    path = tmp_path / "stability.json"
    path.write_text(json.dumps({"mf_log_rows": 0.1}))
    with pytest.raises(InvalidTableError, match="Expected a JSON list of records"):
        write_report(pipeline, tmp_path / "page.html", path)


def test_an_empty_folder_shows_what_ships(tmp_path):
    knowledge = read_knowledge(Pipeline(Settings(data=tmp_path / "none", learner="svm")))
    facts = open_knowledge().provenance
    assert (len(knowledge.catalogue), len(knowledge.trials)) == (facts["tasks"], facts["trials"])
    assert knowledge.provenance["md5 of the meta-data set"] == facts["meta_dataset_md5"]


def test_a_catalogue_without_searches_says_what_to_do(tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    Pipeline(Settings(data=data)).store.write_catalogue([make_task("first", 0.5)])
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(data))
    monkeypatch.setattr("sys.argv", ["metaflow-hpo", "report", "--output", str(tmp_path / "page.html")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "metaflow-hpo step search_results" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
