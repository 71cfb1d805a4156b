from pathlib import Path

import pytest
from pydantic import ValidationError

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.settings import DEMO_HELD_OUT, DEMO_TASKS, Settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Read no pyproject.toml and no environment but what a test writes."""
    import os

    for name in list(os.environ):
        if name.startswith("METAFLOW_HPO_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_environment_overrides_defaults(monkeypatch, tmp_path):
    monkeypatch.setenv("METAFLOW_HPO_CORE_TRIALS", "16")
    monkeypatch.setenv("METAFLOW_HPO_LEARNER", "svm")
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "here"))
    settings = Settings()
    assert (settings.core_trials, settings.learner, settings.data) == (16, "svm", tmp_path / "here")
    assert settings.root == tmp_path


def test_the_environment_wins_over_pyproject_and_an_argument_over_both(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.metaflow_hpo]\nseed = 1\nfolds = 7\nrandom_trials = 9\n")
    monkeypatch.setenv("METAFLOW_HPO_SEED", "2")
    monkeypatch.setenv("METAFLOW_HPO_FOLDS", "4")
    settings = Settings(folds=3)
    assert (settings.random_trials, settings.seed, settings.folds) == (9, 2, 3)


def test_a_misspelt_setting_of_pyproject_is_refused(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.metaflow_hpo]\nsead = 1\n")
    with pytest.raises(ValidationError, match="sead\n  Extra inputs are not permitted"):
        Settings()


def test_an_unknown_argument_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Settings(sead=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "-1"),
        ("seed", "one"),
        ("folds", "2"),
        ("core_trials", "7"),
        ("random_trials", "-1"),
        ("fidelity_epochs", "0"),
        ("catalogue", "everything"),
    ],
)
def test_an_invalid_value_is_refused_with_its_name(monkeypatch, name, value):
    monkeypatch.setenv(f"METAFLOW_HPO_{name.upper()}", value)
    with pytest.raises(ValidationError, match=f"1 validation error for Settings\n{name}\n"):
        Settings()


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 3


def test_inside_a_project_everything_is_kept_in_its_data_folder(tmp_path):
    (tmp_path / "dvc.yaml").touch()
    settings = Settings()
    assert settings.data == tmp_path.resolve() / "data"
    assert settings.dagster_home == tmp_path.resolve() / "dagster_home"


def test_elsewhere_everything_is_kept_in_the_users_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert Settings().data == tmp_path / "share" / "metaflow_hpo" / "data"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert Settings().data == Path.home() / ".local" / "share" / "metaflow_hpo" / "data"


def test_the_environment_names_the_dagster_home(monkeypatch, tmp_path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    assert Settings().dagster_home == (tmp_path / "dagster").resolve()


def test_the_digest_changes_with_a_named_setting_only():
    names = ("seed", "folds")
    digest = Settings().digest(*names)
    assert len(digest) == 12
    assert Settings().digest(*names) == digest
    assert Settings(core_trials=99).digest(*names) == digest
    assert Settings(seed=1).digest(*names) != digest
    assert Settings(folds=4).digest(*names) != digest


def test_the_task_of_the_demo_is_not_part_of_its_meta_data():
    assert DEMO_HELD_OUT not in DEMO_TASKS
    assert len(set(DEMO_TASKS)) == len(DEMO_TASKS)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"[tool.metaflow_hpo\nseed = 1\n", r"Expected TOML in .*pyproject\.toml; found: .*at line 1, column 19"),
        (b"\xff\xfe[tool]", r"Expected TOML in .*pyproject\.toml; found: .*codec can't decode"),
        (b"[tool.metaflow_hpo]\nseed = 'one'\n", r"A setting is wrong: seed: .*valid integer.* \(got 'one'\)"),
        (b"[tool.metaflow_hpo]\nsead = 1\n", "A setting is wrong: sead: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_in_pyproject_is_said_with_the_remedy(tmp_path, content, found):
    (tmp_path / "pyproject.toml").write_bytes(content)
    with pytest.raises(MetaflowHPOError, match=f"{found}.* Mend "):
        Settings.load()


@pytest.mark.parametrize(
    ("content", "variables"),
    [
        ("[tool.metaflow_hpo]\npostgres_password = 'S3cret'\n", {}),
        ("[tool.metaflow_hpo]\ntracking_uri = ['S3cret']\n", {}),
        ("", {"OPENML_TASKS": "S3cret"}),
    ],
)
def test_what_may_be_a_password_is_not_shown(tmp_path, monkeypatch, content, variables):
    (tmp_path / "pyproject.toml").write_text(content)
    for name, value in variables.items():
        monkeypatch.setenv(f"METAFLOW_HPO_{name}", value)
    with pytest.raises(MetaflowHPOError, match="A setting is wrong: ") as caught:
        Settings.load()
    assert "S3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_misspelt_variable_is_refused_and_one_of_somebody_else_is_not(monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_MLFLOW_SERVICE_HOST", "10.0.0.1")  # Kubernetes sets such for a service
    assert Settings.load(seed=3) == Settings(seed=3)
    monkeypatch.setenv("METAFLOW_HPO_CORE_TRAILS", "16")
    with pytest.raises(MetaflowHPOError, match=r"CORE_TRAILS is no setting. Did you mean METAFLOW_HPO_CORE_TRIALS\?"):
        Settings.load()


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_DATA", "")
    monkeypatch.setenv("METAFLOW_HPO_TRACKING_URI", "")
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    settings = Settings.load()
    assert (settings.data, settings.tracking_uri) == (Path("/somewhere/metaflow_hpo/data"), None)
