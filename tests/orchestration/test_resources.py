"""The resource: which MLflow run a Dagster run writes to, and what of its progress is logged."""

import logging
from types import SimpleNamespace

import dagster as dg
import pytest

from metaflow_hpo.orchestration.partitions import TASKS, sync_partitions
from metaflow_hpo.orchestration.resources import PipelineResource

pytestmark = pytest.mark.integration


def make_context(run_id, root_run_id=None):
    return SimpleNamespace(
        run=SimpleNamespace(run_id=run_id, root_run_id=root_run_id), log=logging.getLogger("test_resources")
    )


def test_a_retry_has_the_key_of_the_run_it_retries(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path))
    first, retry, other = (
        PipelineResource().open(make_context(*ids)).key_tags("search_results", "inputs")
        for ids in (("a",), ("b", "a"), ("c",))
    )
    assert first == retry
    assert first != other


def test_single_trials_stay_out_of_the_event_log(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path))
    caplog.set_level(logging.INFO)
    progress = PipelineResource().open(make_context("a")).progress
    progress("trials on iris", 1, 12)
    progress("searches", 1, 6)
    assert [record.message for record in caplog.records] == ["searches: 1/6"]


def test_partitions_follow_the_catalogue():
    with dg.DagsterInstance.ephemeral() as instance:
        sync_partitions(instance, ["iris", "wine"])
        sync_partitions(instance, ["wine", "zoo"])
        assert sorted(instance.get_dynamic_partitions(TASKS)) == ["wine", "zoo"]
