from metaflow_hpo.adapters.pipeline import Pipeline
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


def test_trials_are_of_the_epochs_of_the_settings_or_of_the_full_fidelity(tmp_path):
    assert Pipeline(Settings(data=tmp_path, fidelity_epochs=3)).epochs == 3
    assert Pipeline(Settings(data=tmp_path)).epochs == 50
    assert Pipeline(Settings(data=tmp_path, learner="svm")).epochs == 1
