"""What is loaded is what was registered: a damaged copy is fetched again, a damaged artifact refused."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from metaflow_hpo.adapters.registry import Registry
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.array_files import md5_of, read_described, write_described
from metaflow_hpo.errors import InvalidTableError, MetaflowHPOError
from metaflow_hpo.recommender.recommender import Recommender

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]


Array = NDArray[Any]


def scale(factor: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        arrays = load_file(path)
        save_file({k: (v * v.dtype.type(factor) if v.dtype.kind == "f" else v) for k, v in arrays.items()}, path)

    return change


def edit(**values: object) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **values})) and None


def cut(share: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)]) and None


def flip(position: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(position * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return change


def write(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


ARRAYS, TEXTS = ("surrogate.safetensors", "past_tasks.safetensors"), ("surrogate.json", "past_tasks.json")
DAMAGES: list[tuple[str, Callable[[Path], None]]] = [
    *((name, change) for name in ARRAYS for change in (scale(-1.0), scale(np.nan), scale(1.0001))),
    *((name, change) for name in (*ARRAYS, *TEXTS) for change in (cut(0.5), cut(0.0), write(b"{}"), write(b"\0" * 99))),
    *((name, flip(position)) for name in (*ARRAYS, *TEXTS) for position in (0.0, 0.3, 0.7, 1.0)),
    ("past_tasks.json", edit(trust=1e9)),
    ("past_tasks.json", edit(trust=0.4)),
    ("surrogate.json", edit(learner="svm")),
    *((name, Path.unlink) for name in (*ARRAYS, *TEXTS)),
]


@pytest.fixture(scope="module")
def registered(
    tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path, served_folder: Path, served: Recommender
) -> Registry:
    data = tmp_path_factory.mktemp("registered")
    (data / "mlflow").mkdir()
    shutil.copy(mlflow_template, data / "mlflow" / "mlflow.db")
    registry = Registry(Tracking.local(data), data / "mlflow" / "downloads")
    example = pd.DataFrame([served.past.meta_features[0]], columns=list(served.meta_feature_names))
    with registry.tracking.parent_run("surrogate", "one", {}) as run:
        registry.register_surrogate(served_folder, run_id=run.run_id, input_example=example)
    return registry


def answer(recommender: Recommender) -> object:
    row = recommender.past.meta_features[0].tolist()
    return recommender.recommend(dict(zip(recommender.meta_feature_names, row, strict=True)), 3)


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_copy_is_fetched_again_with_a_warning(
    registered: Registry,
    served: Recommender,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: Callable[[Path], None],
) -> None:
    damage(registered.download(1) / name)
    with caplog.at_level(logging.WARNING, "metaflow_hpo"):
        assert answer(registered.load(1)) == answer(served)
    assert f"was damaged or changed ({name}); it is fetched again" in caplog.text


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_artifact_is_refused_by_name_and_leaves_no_copy(
    registered: Registry, name: str, damage: Callable[[Path], None]
) -> None:
    (artifact,) = registered.tracking.artifact_root.rglob(name)  # type: ignore[union-attr]
    whole = artifact.read_bytes()
    shutil.rmtree(registered.cache, ignore_errors=True)
    damage(artifact)
    try:
        for _ in range(2):
            with pytest.raises(MetaflowHPOError, match=rf"{name} was damaged or changed in the registry"):
                registered.download(1)
    finally:
        artifact.write_bytes(whole)
    assert registered.download(1).is_dir()


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_folder_is_refused_when_it_is_loaded(
    served_folder: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(served_folder, folder)
    damage(folder / name)
    with pytest.raises(InvalidTableError, match=rf"{name.partition('.')[0]}\.(json|safetensors)"):
        Recommender.load(folder)


def test_another_version_in_the_place_of_a_copy_is_noticed(
    registered: Registry, many_tasks: Recommender, served: Recommender
) -> None:
    many_tasks.save(registered.download(1))
    assert answer(registered.load(1)) == answer(served)


def test_a_copy_is_fetched_for_this_process_alone_where_the_data_cannot_be_written_to(
    registered: Registry, served: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(registered.cache, ignore_errors=True)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert answer(registered.load(1)) == answer(served)
    assert not registered.cache.exists()


def reseal(folder: Path, arrays: Callable[[Array], Array] = lambda array: array, **values: object) -> None:
    """Tamper with a folder so that its check sums hold."""
    packed, description = read_described(folder, "past_tasks", "")
    write_described(folder, "past_tasks", packed, {**description, **values})
    networks, described = read_described(folder, "surrogate", "")
    write_described(folder, "surrogate", {name: arrays(array) for name, array in networks.items()}, described)
    _, description = read_described(folder, "past_tasks", "")
    md5 = md5_of((folder / "surrogate.json").read_bytes())
    write_described(folder, "past_tasks", packed, {**description, "surrogate_md5": md5})


@pytest.mark.parametrize("trust", [1e9, -0.1, 1.0001, float("nan"), float("inf")])
def test_a_trust_out_of_range_is_refused_whoever_wrote_it(served_folder: Path, tmp_path: Path, trust: float) -> None:
    shutil.copytree(served_folder, tmp_path / "copy")
    reseal(tmp_path / "copy", trust=trust)
    with pytest.raises(InvalidTableError, match="Expected a trust from 0 to 1"):
        Recommender.load(tmp_path / "copy")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_whoever_wrote_them(
    served_folder: Path, tmp_path: Path, value: float
) -> None:
    shutil.copytree(served_folder, tmp_path / "copy")
    reseal(tmp_path / "copy", lambda array: np.full_like(array, value))
    with pytest.raises(InvalidTableError, match="Expected finite weights"):
        Recommender.load(tmp_path / "copy")


def test_networks_of_another_version_are_refused(served_folder: Path, many_tasks: Recommender, tmp_path: Path) -> None:
    for name in ("one", "other"):
        shutil.copytree(served_folder, tmp_path / name)
    many_tasks.save(tmp_path / "other")
    for name in ("surrogate.json", "surrogate.safetensors"):
        shutil.copy(tmp_path / "other" / name, tmp_path / "one" / name)
    with pytest.raises(InvalidTableError, match="it is missing or another"):
        Recommender.load(tmp_path / "one")
    for name in ("surrogate.json", "surrogate.safetensors"):
        (tmp_path / "one" / name).unlink()
    with pytest.raises(InvalidTableError, match="it is missing or another"):
        Recommender.load(tmp_path / "one")
