"""The manifest and the image recipe: what they name exists, and the commands in them run here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import metaflow_hpo
from metaflow_hpo.commands.operating import STEPS
from metaflow_hpo.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "metaflow_hpo" / "orchestration" / "kubernetes"
PREFIX = "METAFLOW_HPO_"
RECIPE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parts():
    return {part["kind"]: part for part in yaml.safe_load_all((FOLDER / "ray_cluster.yaml").read_text("utf-8"))}


@pytest.fixture(scope="module")
def pods(parts):
    spec = parts["RayJob"]["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def variables(pod):
    return {v["name"]: v.get("value") for container in pod["containers"] for v in container["env"]}


def test_every_setting_of_the_manifest_and_the_image_exists_and_holds_a_valid_value(pods, monkeypatch):
    head = variables(pods[0])
    image = dict(re.findall(r"^(?:ENV|   ) (\w+)=([^ \\\n]+)", RECIPE, re.MULTILINE))
    names = {name.removeprefix(PREFIX).lower() for name in {**head, **image} if name.startswith(PREFIX)}
    assert names >= {"data", "executor"}
    assert names <= set(Settings.model_fields)
    for name, value in {**image, **head}.items():
        if name.startswith(PREFIX) and value is not None:
            monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.executor, settings.data) == ("ray", Path("/data"))
    mounts = [m["mountPath"] for m in pods[0]["containers"][0]["volumeMounts"]]
    assert mounts == [str(settings.data)]
    cpus = int(pods[1]["containers"][0]["resources"]["limits"]["cpu"])
    assert cpus % settings.ray_cpus == 0


def test_the_entry_command_runs_steps_that_exist(parts):
    commands = parts["RayJob"]["spec"]["entrypoint"].split(" && ")
    assert [command.split()[:2] for command in commands] == [["metaflow-hpo", "step"]] * 2
    assert [STEPS.index(command.split()[2]) for command in commands] == [
        STEPS.index("dataset_catalogue"),
        STEPS.index("search_results"),
    ]


def test_the_cluster_wants_a_token_that_the_file_does_not_hold(parts, pods):
    assert parts["RayJob"]["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    named = {name for pod in pods for name in variables(pod)}
    assert not {name for name in named if "TOKEN" in name}
    assert all(variables(pod)["RAY_USAGE_STATS_ENABLED"] == "0" for pod in pods)


def test_only_the_head_has_the_files_and_all_nodes_have_one_image_of_this_version(parts, pods):
    assert [bool(pod.get("volumes")) for pod in pods] == [True, False]
    claim = pods[0]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == parts["PersistentVolumeClaim"]["metadata"]["name"]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert images == {f"metaflow-hpo:{metaflow_hpo.__version__}"}
    assert f"-t metaflow-hpo:{metaflow_hpo.__version__} ." in RECIPE
    version = parts["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"ARG RAY_VERSION={version}\n" in RECIPE


def test_the_image_copies_files_that_exist_and_starts_the_installed_command():
    copied = [line.split()[1:-1] for line in RECIPE.splitlines() if line.startswith("COPY")]
    assert [name for names in copied for name in names if not (ROOT / name).exists()] == []
    command = re.search(r'^CMD \["([\w-]+)"', RECIPE, re.MULTILINE)
    assert command is not None
    assert f'\n{command[1]} = "metaflow_hpo.cli:main"' in (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.slow
def test_the_line_that_compiles_the_trainer_into_the_image_runs():
    code = re.search(r'^RUN python -c "(.*)"$', RECIPE, re.MULTILINE)
    assert code is not None
    subprocess.run([sys.executable, "-c", code[1]], cwd=ROOT, check=True)
