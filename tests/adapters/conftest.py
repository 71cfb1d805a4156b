import shutil
from pathlib import Path

import pytest

from metaflow_hpo.adapters.tracking import Tracking


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes four seconds, copying it none."""
    data = tmp_path_factory.mktemp("mlflow_template")
    Tracking.local(data).prepare()
    return data / "mlflow" / "mlflow.db"


@pytest.fixture
def tracking(tmp_path: Path, mlflow_template: Path) -> Tracking:
    (tmp_path / "data" / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow_template, tmp_path / "data" / "mlflow" / "mlflow.db")
    return Tracking.local(tmp_path / "data")
