"""The wheel: what it holds, and what it answers in an empty home without a network."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.actions.pack import MAX_BYTES

pytestmark = [pytest.mark.slow, pytest.mark.integration]

ROOT = Path(__file__).parents[1]
NUMBER, TEXT = {"type": "number"}, {"type": "string"}
ANSWER = {
    "type": "object",
    "required": ["task", "recommendations", "evidence", "novelty", "lineage"],
    "properties": {
        "recommendations": {
            "type": "array",
            "minItems": 5,
            "maxItems": 5,
            "items": {
                "type": "object",
                "required": ["rank", "configuration", "performance", "expected_gain_over_default"],
                "properties": {
                    "configuration": {"type": "object", "minProperties": 3},
                    "performance": {
                        "type": "object",
                        "required": ["metric", "mean", "low", "high", "coverage"],
                        "properties": {"metric": TEXT, "mean": NUMBER, "low": NUMBER, "high": NUMBER},
                    },
                    "expected_duration_s": NUMBER,
                },
            },
        },
        "lineage": {
            "type": "object",
            "required": ["surrogate_version", "meta_dataset_md5"],
            "properties": {"surrogate_version": {"type": "string", "pattern": "^shipped-"}, "meta_dataset_md5": TEXT},
        },
    },
}
# Half a second and more each; nothing of them is needed to answer.
UNWANTED = ("mlflow", "dagster", "dvc", "torch._dynamo", "sympy", "numba", "pytorch_lightning", "optuna", "matplotlib")
NO_NETWORK = """
import socket
def refuse(*arguments, **named):
    raise OSError("the test has no network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy of the sources."""
    source, out = tmp_path_factory.mktemp("source") / "copy", tmp_path_factory.mktemp("wheel")
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "metaflow_hpo", source / "metaflow_hpo", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(out)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", str(source), *options], check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel installed, a home and a folder that are empty, and no network."""
    site, home = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("home")
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", str(wheel), *options], check=True)
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("METAFLOW_HPO_", "MLFLOW_", "DAGSTER_"))}
    return {**kept, "PYTHONPATH": str(site), "HOME": str(home), "XDG_DATA_HOME": str(home)}


def run(environment, folder, *arguments, options=()):
    command = [sys.executable, *options, "-m", "metaflow_hpo.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """2,000 rows of 20 columns."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000, 20))
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(20)])
    path = tmp_path_factory.mktemp("own") / "my.csv"
    frame.assign(kind=rng.choice(list("abc"), len(x)), y=np.where(x[:, 0] * x[:, 1] > 0, "p", "q")).to_csv(
        path, index=False
    )
    return path


def test_the_wheel_holds_the_knowledge_within_its_size(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {
            info.filename: info.file_size for info in archive.infolist() if "metaflow_hpo/knowledge/" in info.filename
        }
        provenance = json.loads(archive.read("metaflow_hpo/knowledge/provenance.json"))
        readable = [info.external_attr >> 16 & 0o044 for info in archive.infolist() if info.filename in sizes]
    shipped = {name.removeprefix("metaflow_hpo/knowledge/") for name in sizes}
    assert shipped == {*provenance["files"], "provenance.json"}
    assert sum(sizes.values()) <= MAX_BYTES
    assert set(readable) == {0o044}
    print(f"\nwheel {wheel.stat().st_size / 1e6:.2f} MB, knowledge {sum(sizes.values()) / 1e6:.2f} MB")


def test_an_installed_wheel_answers_offline_in_an_empty_home_and_remembers_what_it_said(installed, table, tmp_path):
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = run(installed, tmp_path, "recommend", table, "--target", "y", "--json")
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"\ncold: {seconds:.2f} s, of which {cpu:.2f} s of processor time")
    assert done.returncode == 0, done.stderr
    jsonschema.validate(json.loads(done.stdout), ANSWER)
    assert list(tmp_path.iterdir()) == []
    left = [path.relative_to(installed["HOME"]) for path in Path(installed["HOME"]).rglob("*") if path.is_file()]
    data = Path("metaflow_hpo/data")
    assert {path.parent for path in left} == {data / "feedback" / "recommendations", data / "own" / "tasks"}
    assert json.loads(done.stdout)["learner"] == "realmlp"


def test_an_answer_imports_nothing_it_does_not_need(installed, table, tmp_path):
    done = run(installed, tmp_path, "recommend", table, "--target", "y", "--json", options=("-X", "importtime"))
    assert done.returncode == 0
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "pandas" in imported
    assert "torch" not in imported
    assert [name for name in UNWANTED if name in imported] == []


def test_the_status_of_an_installed_wheel_names_what_ships(installed, tmp_path):
    done = run(installed, tmp_path, "status", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["knowledge"]["source"] == "shipped"
    assert report["knowledge"]["trials"] > 0
    assert str(report["data"]["folder"]).startswith(installed["HOME"])


def test_an_installed_wheel_trains_what_it_recommends(installed, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=90), "b": rng.normal(size=90)})
    frame.assign(y=np.where(frame["a"] > 0, "p", "q")).to_csv(tmp_path / "small.csv", index=False)
    asked = ("train", "small.csv", "--target", "y", "--learner", "svm", "--json", "--script", "again.py")
    done = run(installed, tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"
    alone = subprocess.run([sys.executable, "-I", "again.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "72 rows trained on, 18 held out" in alone.stdout
