"""The gate with a champion and with what ships, on real registries: a bad candidate is refused and says why."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.actions.incumbent import find_incumbent
from metaflow_hpo.adapters.knowledge import open_knowledge
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.evaluate.evaluation import evaluate_leave_family_out
from metaflow_hpo.evaluate.gate import decide
from metaflow_hpo.history import History
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.settings import Settings
from tests.conftest import changed

pytestmark = pytest.mark.integration


@pytest.fixture
def pipeline(tracking):
    data = tracking.database.parents[1]
    return Pipeline(Settings(data=data, accelerator="cpu"))


def register(pipeline, folder, names):
    tracking = pipeline.tracking
    with tracking.parent_run("surrogate", "for a test", {}) as run:
        example = pd.DataFrame([dict.fromkeys(names, 0.0)])
        return pipeline.registry.register_surrogate(folder, run_id=run.run_id, input_example=example)


def invert(surrogate):
    """Return networks that believe the opposite."""
    networks = [
        replace(n, weights={name: -w if name.startswith(("score", "position")) else w for name, w in n.weights.items()})
        for n in surrogate.networks
    ]
    return replace(surrogate, networks=tuple(networks))


def mix_up(meta):
    """Describe every task as another one, so that no weights of past tasks make up for what the networks say."""
    return changed(meta, meta_features=np.random.default_rng(0).permutation(meta.meta_features))


def test_a_deliberately_bad_candidate_is_refused_for_the_champion(pipeline, many_tasks, many_judged, tmp_path):
    served, meta, good = many_tasks, many_tasks.history, many_judged[2]
    folder = tmp_path / "served"
    folder.mkdir()
    served.save(folder)
    first = register(pipeline, folder, served.meta_feature_names)
    pipeline.registry.promote(first, "for this test")
    bad = evaluate_leave_family_out(mix_up(meta), invert(served.surrogate))
    incumbent = find_incumbent(pipeline, meta, first + 1)
    assert (incumbent.name, incumbent.note) == ("champion", "")
    assert set(incumbent.regret["task_id"]) == set(meta.task_ids)
    verdict = decide(bad.per_task, incumbent.regret, incumbent.name)
    assert not verdict.promoted
    assert verdict.reason.startswith("Worse than ")
    champion = verdict.comparisons.set_index("rival").loc["champion"]
    assert not champion["passed"]
    assert champion["candidate"] > champion["rival_regret"]
    equal = decide(good.per_task, incumbent.regret, incumbent.name).comparisons.set_index("rival").loc["champion"]
    assert bool(equal["passed"])


def test_the_candidate_itself_and_a_champion_for_other_inputs_are_no_rivals(pipeline, served, served_folder, meta):
    first = register(pipeline, served_folder, served.meta_feature_names)
    pipeline.registry.promote(first, "for this test")
    assert find_incumbent(pipeline, meta, first).regret is None
    other = changed(meta, meta_feature_names=tuple(f"mf_other_{i}" for i in range(len(meta.meta_feature_names))))
    found = find_incumbent(pipeline, other, first + 1)
    assert found.regret is None
    assert "other meta-features" in found.note


@pytest.fixture(scope="module")
def shipped():
    knowledge = open_knowledge()
    assert knowledge is not None
    learner = get_learner("mlp")
    served = Recommender.load(knowledge.recommender_folder("mlp"))
    frame = knowledge.read_meta_dataset()
    chosen = [*served.past.task_ids[:12]]
    meta = History.from_frame(
        frame.loc[frame["task_id"].isin(chosen) & (frame["strategy"] == "sobol")], space=learner.space, learner="mlp"
    )
    return knowledge, served, meta.shared()


def test_before_the_first_champion_the_shipped_recommender_is_the_incumbent(pipeline, shipped):
    knowledge, _, meta = shipped
    pipeline.store.data.mkdir(exist_ok=True)
    catalogue = knowledge.read_catalogue()
    catalogue.to_parquet(pipeline.store.catalogue_path)
    found = find_incumbent(pipeline, meta, 1)
    assert (found.name, found.note) == ("shipped", "")
    assert set(found.regret["task_id"]) == set(meta.task_ids)
    # A task of which the rows are others may be a relative of one that was trained on: nobody knows.
    altered = catalogue.assign(sha256=catalogue["sha256"].where(catalogue["task_id"] != meta.task_ids[0], "0" * 64))
    altered.to_parquet(pipeline.store.catalogue_path)
    fewer = find_incumbent(pipeline, meta, 1).regret
    assert set(fewer["task_id"]) == set(meta.task_ids[1:])
    kept = found.regret.loc[found.regret["task_id"] != meta.task_ids[0]].reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer.reset_index(drop=True), kept)


def test_where_the_shipped_recommender_cannot_be_compared_honestly_the_reason_is_said(pipeline, shipped):
    _, _, meta = shipped
    found = find_incumbent(pipeline, meta, 1)
    assert found.regret is None
    assert "of only 0 tasks it is known whether it was trained on a relative" in found.note
    short = Pipeline(pipeline.settings.model_copy(update={"fidelity_epochs": 2}))
    assert "these are of 2" in find_incumbent(short, meta, 1).note
    drawn = meta.space.from_unit(np.random.default_rng(0).random((len(meta.configurations), len(meta.space.names))))
    other = changed(meta, configurations=tuple(drawn))
    assert "other configurations" in find_incumbent(pipeline, other, 1).note
