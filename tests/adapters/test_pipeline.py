from itertools import permutations

import pytest

from metaflow_hpo.adapters.knowledge import find_shipped
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.learners.registry import DEFAULT_LEARNERS, LEARNERS, MODALITY_OF, get_learner
from metaflow_hpo.modalities.opaque import read_opaque
from metaflow_hpo.settings import Settings


def test_tags_name_the_commit_the_dagster_run_and_the_data(tmp_path):
    settings = Settings(data=tmp_path / "data")
    tags = Pipeline(settings, dagster_run_id="r").tags({"meta_dataset": "0" * 32}, partition="iris")
    expected = {"dagster.run_id": "r", "dagster.partition": "iris", "data.meta_dataset.md5": "0" * 32}
    assert tags == {"git.revision": "none", "git.dirty": "false", **expected}
    assert Pipeline(settings).tags() == {"git.revision": "none", "git.dirty": "false"}


def test_a_step_is_the_same_one_under_the_same_dagster_run_or_else_on_the_same_inputs(tmp_path):
    settings = Settings(data=tmp_path / "data")
    under_dagster, alone = Pipeline(settings, dagster_run_id="r"), Pipeline(settings)
    assert under_dagster.key_tags("fit", "a") == under_dagster.key_tags("fit", "b")
    assert alone.key_tags("fit", "a") == alone.key_tags("fit", "a") != alone.key_tags("fit", "b")


def test_learners_that_one_dagster_run_fits_have_runs_of_their_own(tmp_path):
    tags = [
        Pipeline(Settings(data=tmp_path, learner=name), dagster_run_id="d").key_tags("surrogate", "same")
        for name in ("mlp", "text", "audio_cnn")
    ]
    # A run is found by its tags, so that those of one may not be among those of another.
    assert not any(one.items() <= other.items() for one, other in permutations(tags, 2))


def test_trials_are_of_the_epochs_of_the_settings_or_of_the_full_fidelity(tmp_path):
    assert Pipeline(Settings(data=tmp_path, fidelity_epochs=3)).epochs == 3
    assert Pipeline(Settings(data=tmp_path)).epochs == 50
    assert Pipeline(Settings(data=tmp_path, learner="svm")).epochs == 1


@pytest.mark.parametrize("name", LEARNERS.built_in)
def test_what_built_in_learners_train_on_is_known_without_them(name):
    assert get_learner(name).modalities == (MODALITY_OF[name],)
    assert MODALITY_OF[DEFAULT_LEARNERS[MODALITY_OF[name]]] == MODALITY_OF[name]


@pytest.mark.parametrize(
    ("chosen", "modality", "learner"),
    [
        ("mlp", "table", "mlp"),
        ("svm", "table", "svm"),
        ("mlp", "image", "cnn"),
        ("svm", "text", "text"),
        ("cnn", "audio", "audio_cnn"),
        ("cnn", "series", "series"),
        ("cnn", "table", "realmlp"),
        ("mlp", "opaque", "mlp"),
    ],
)
def test_a_modality_has_its_own_learner_where_that_of_the_settings_does_not_fit(tmp_path, chosen, modality, learner):
    assert Pipeline(Settings(data=tmp_path, learner=chosen)).on(modality).learner_name == learner


def test_a_learner_that_a_person_chose_is_never_replaced_but_refused_where_it_does_not_fit(tmp_path):
    pipeline = Pipeline(Settings(data=tmp_path, learner="svm"), is_chosen=True)
    assert pipeline.on("image") is pipeline
    data = read_opaque({"task_id": "mine", "metric": "accuracy"})
    with pytest.raises(SearchSpaceMismatchError, match=r"table for the learner svm; mine is of opaque\. Leave"):
        pipeline.check_learner(data)


def test_a_table_of_a_person_gets_the_best_learner_unless_one_was_chosen_or_promoted(tmp_path, monkeypatch):
    assert Pipeline(Settings.load(data=tmp_path)).asked("table").learner_name == "mlp"  # by the variable
    monkeypatch.delenv("METAFLOW_HPO_LEARNER")
    free = Pipeline(Settings(data=tmp_path))
    assert (free.learner_name, free.on("table").learner_name) == ("mlp", "mlp")
    assert (free.asked("table").learner_name, free.asked("image").learner_name) == ("realmlp", "cnn")
    assert Pipeline(Settings(data=tmp_path, learner="svm")).asked("table").learner_name == "svm"
    assert free.tuning("svm").asked("table").learner_name == "svm"
    free.store.champion_path.write_text("{}")
    assert free.asked("table").learner_name == "mlp"
    assert free.asked("image").learner_name == "cnn"


@pytest.mark.parametrize("learner", ["mlp", "realmlp", "svm", "cnn"])
def test_what_ships_of_a_learner_is_found(learner):
    knowledge = find_shipped(learner)
    assert learner in knowledge.provenance["recommenders"]
    knowledge.verify()
