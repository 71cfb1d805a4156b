"""What MLflow stores of a surrogate: its folder, the served model beside it, its signature and its requirements.

The one thing to know: the path within the model is the name of the logged folder, so it is copied as `surrogate` first.
"""

import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.errors import InvalidTableError, MetaflowHPOError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

ARTIFACT = "surrogate"
NETWORK = "network"
ITEM = "item"
"""Column of a request to a network of items, and of its predictions."""

_DATA = {".json", ".safetensors"}
_PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".dill", ".cloudpickle", ".npy", ".npz"}
_NEEDS = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "scikit-learn", "scipy", "torch")


def log_surrogate(
    client: "MlflowClient", folder: Path, *, run_id: str, name: str, example: pd.DataFrame
) -> "LoggedModel":
    """Log a surrogate to a run as a served model.

    Args:
        client: The tracking server.
        folder: A saved `Recommender`; no pickle is made of it.
        run_id: The run that trained it.
        name: Name of the logged model.
        example: `(T, M)` meta-features from `checked_example`.

    Returns:
        The logged model, ready to be registered.
    """
    return _log_model(
        client,
        {ARTIFACT: folder},
        "served_model.py",
        _signature(example),
        run_id=run_id,
        name=name,
        example=(example, {"k": 5}),
    )


def _log_model(
    client: "MlflowClient",
    artifacts: Mapping[str, Path],
    code: str,
    signature: "ModelSignature",
    *,
    run_id: str,
    name: str,
    example: tuple[pd.DataFrame, dict[str, Any]] | None = None,
) -> "LoggedModel":
    """Do what `mlflow.pyfunc.log_model` does, without its global state.

    Args:
        client: The tracking server.
        artifacts: Folders by the name the code knows them by.
        code: File beside this one that is the model.
        signature: What goes in and comes out.
        run_id: The run that made the folders.
        name: Name of the logged model.
        example: Input and parameters, kept with it; None for none.
    """
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    experiment_id = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(experiment_id, name=name, source_run_id=run_id, model_type="recommender")
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as temporary:
        for artifact, folder in artifacts.items():
            shutil.copytree(folder, Path(temporary, artifact))  # the path within the model is the folder's name
        local = Path(temporary, "model")
        with warnings.catch_warnings():
            # Of items there is no example to keep; the signature says what comes out.
            warnings.filterwarnings("ignore", message=".*input example was not provided", category=UserWarning)
            pyfunc.save_model(
                path=str(local),
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    run_id=run_id,
                    model_uuid=logged.model_id,
                    model_id=logged.model_id,
                ),
                python_model=str(Path(__file__).with_name(code)),
                artifacts={artifact: str(Path(temporary, artifact)) for artifact in artifacts},
                signature=signature,
                input_example=example,
                pip_requirements=pip_requirements(),
            )
        client.log_model_artifacts(logged.model_id, str(local))
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return client.finalize_logged_model(logged.model_id, "READY")


def log_network(
    client: "MlflowClient", folder: Path, *, run_id: str, name: str, example: pd.DataFrame, outputs: Sequence[str]
) -> "LoggedModel":
    """Log a trained network to its run as a served model that predicts rows.

    Args:
        client: The tracking server.
        folder: A saved `TrainedNetwork`; no pickle is made of it.
        run_id: The run that trained it.
        name: Name of the logged model.
        example: A few rows; their columns are what a row needs.
        outputs: Columns of the predictions.

    Returns:
        The logged model, ready to be registered.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    anything = AnyType()  # type: ignore[no-untyped-call]
    # No inputs: the network reads a column as its training rows were read, and says what is missing. MLflow would
    # refuse csv where a column may hold anything, and numbers written as text where it is a number.
    signature = ModelSignature(outputs=Schema([ColSpec(anything, column) for column in outputs]))
    return _log_model(
        client, {NETWORK: folder}, "trained_model.py", signature, run_id=run_id, name=name, example=(example, {})
    )


def log_item_network(client: "MlflowClient", folder: Path, *, run_id: str, name: str) -> "LoggedModel":
    """Log a trained network of items to its run as a served model.

    Args:
        client: The tracking server.
        folder: A saved `TrainedItemNetwork` with the form of its items; no pickle is made of it.
        run_id: The run that trained it.
        name: Name of the logged model.

    Returns:
        The logged model, ready to be registered.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    signature = ModelSignature(outputs=Schema([ColSpec(AnyType(), "prediction")]))  # type: ignore[no-untyped-call]
    return _log_model(client, {NETWORK: folder}, "item_model.py", signature, run_id=run_id, name=name)


def pip_requirements() -> list[str]:
    """Return what serving needs, pinned to the installed versions (metaflow_hpo itself where it is installed)."""
    pins = []
    for package in (*_NEEDS, "metaflow-hpo"):
        try:
            pins.append(f"{package}=={version(package).partition('+')[0]}")  # without the local part of `2.13.0+cpu`
        except PackageNotFoundError:
            continue
    return pins


def fetch_surrogate(tracking_uri: str, model: str, target: Path, what: str, artifact: str = ARTIFACT) -> None:
    """Download the surrogate, or the network, of a logged model into a folder, which is there as a whole or not at all.

    Args:
        tracking_uri: The tracking server, which is the registry as well.
        model: Address of the logged model.
        target: The folder.
        what: The version, for the message.
        artifact: `ARTIFACT`, or `NETWORK`.

    Raises:
        MetaflowHPOError: If it holds files that may run code: pickles.
    """
    from mlflow.artifacts import download_artifacts, list_artifacts

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=target.parent) as temporary:
        where = {"tracking_uri": tracking_uri}
        beside = [item.path for item in list_artifacts(artifact_uri=model, **where) if not item.is_dir]
        uri = f"{model}/artifacts/{artifact}"
        fetched = Path(download_artifacts(uri, dst_path=temporary, registry_uri=tracking_uri, **where))
        _refuse_code(fetched, beside, what)
        try:
            fetched.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster
                raise


def _refuse_code(folder: Path, model_files: Sequence[str], what: str) -> None:
    """Refuse a version from the registry that holds anything that could run when it is read.

    Args:
        folder: Its surrogate, as downloaded; only JSON and safetensors are read.
        model_files: Names of the files beside it in the logged model.
        what: The version, for the message.

    Raises:
        MetaflowHPOError: If there is a pickle or any file that is not known to be data.
    """
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    unknown = [path.relative_to(folder).as_posix() for path in files if path.suffix not in _DATA or path.is_symlink()]
    unknown += [name for name in model_files if Path(name).suffix in _PICKLES]
    if unknown:
        raise MetaflowHPOError(
            f"Expected {what} to hold JSON and safetensors only; found {sorted(unknown)[:5]}, which may run code when "
            "it is loaded. It is refused: register a surrogate with `metaflow-hpo fit` instead."
        )


def checked_example(example: pd.DataFrame) -> pd.DataFrame:
    """Return meta-features as doubles.

    Raises:
        InvalidTableError: If there is no row, or a value is not a finite number.
    """
    try:
        numbers = example.astype("float64").reset_index(drop=True)
    except (TypeError, ValueError) as error:
        raise InvalidTableError(f"The input example holds meta-features, numbers only; found: {error}.") from error
    missing = [str(name) for name in numbers.columns[~numbers.abs().lt(float("inf")).all()]]
    if numbers.empty or missing:
        raise InvalidTableError(
            f"The input example needs a row of finite meta-features; found {len(numbers)} rows, "
            f"not finite: {missing[:10]}. Give the row of a task of the meta-data set."
        )
    return numbers


def _signature(example: pd.DataFrame) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    anything = AnyType()  # type: ignore[no-untyped-call]
    outputs: list[Any] = [ColSpec(Array(anything), "recommendations")]
    outputs += [ColSpec(anything, name) for name in ("tuning", "evidence", "novelty", "lineage")]
    return ModelSignature(
        inputs=Schema([ColSpec("double", str(name)) for name in example.columns]),
        outputs=Schema(outputs),
        params=ParamSchema([ParamSpec("k", "long", default=5)]),
    )
