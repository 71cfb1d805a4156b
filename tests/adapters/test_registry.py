import shutil
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from metaflow_hpo.actions.audit import audit, read_decisions
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.registry import ChampionVersion, Registry
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.errors import InvalidTableError, MetaflowHPOError, NoChampionError
from metaflow_hpo.settings import Settings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]

EXAMPLE = pd.DataFrame({"mf_rows": [100], "mf_columns": [4.0]})


@pytest.fixture(autouse=True)
def _no_surrogate_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow runs the script of the served model when it is logged; what that imports does not matter here."""
    stand_in = ModuleType("metaflow_hpo.recommender.recommender")
    stand_in.Recommender = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


@pytest.fixture
def registry(tracking: Tracking, tmp_path: Path) -> Registry:
    return Registry(tracking, tmp_path / "cache")


def register(registry: Registry, folder: Path, text: str = "weights") -> int:
    folder.mkdir(exist_ok=True)
    (folder / "surrogate.json").write_text(text)
    with registry.tracking.parent_run("surrogate", text, {}) as run:
        run.log_metrics({"regret": 0.25})
    return registry.register_surrogate(folder, run_id=run.run_id, input_example=EXAMPLE, tags={"data.md5": "0" * 32})


def test_without_a_champion_the_remedy_is_given(registry: Registry) -> None:
    assert registry.champion() is None
    with pytest.raises(NoChampionError, match=r"none has been promoted.*metaflow-hpo evaluate"):
        registry.require_champion()
    with pytest.raises(NoChampionError, match="alias 'champion'; none has it"):
        registry.download("champion")
    with pytest.raises(MetaflowHPOError, match="there is no version 3"):
        registry.promote(3, "better")


def test_a_registered_surrogate_is_a_candidate_with_a_signature_and_no_pickle(
    registry: Registry, tmp_path: Path
) -> None:
    import mlflow
    from mlflow.models import Model

    version = register(registry, tmp_path / "folder")
    assert version == 1
    client = registry.tracking.client()
    found = client.get_model_version(registry.name, "1")
    assert found.tags.items() >= {"status": "candidate", "data.md5": "0" * 32}.items()
    assert "2 meta-features" in str(found.description)
    assert "first on a new task" in str(client.get_registered_model(registry.name).description)
    assert client.get_model_version_by_alias(registry.name, "candidate").version == 1
    stored = Path(str(found.source).removeprefix("file://"))
    files = sorted(path.relative_to(stored).as_posix() for path in stored.rglob("*") if path.is_file())
    assert {"MLmodel", "served_model.py", "artifacts/surrogate/surrogate.json"} <= set(files)
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pyc"))]
    signature = Model.load(stored / "MLmodel").signature
    assert [(column.name, column.type.name, column.required) for column in signature.inputs.inputs] == [
        ("mf_rows", "double", True),
        ("mf_columns", "double", True),
    ]
    assert [(param.name, param.default) for param in signature.params.params] == [("k", 5)]
    assert f"mlflow=={mlflow.__version__}" in (stored / "requirements.txt").read_text().splitlines()
    assert not mlflow.tracking.is_tracking_uri_set()


def test_promotion_moves_the_alias_and_records_why(registry: Registry, tmp_path: Path) -> None:
    first, second = register(registry, tmp_path / "folder", "one"), register(registry, tmp_path / "folder", "two")
    registry.promote(first, "the first one")
    champion = registry.require_champion()
    assert isinstance(champion, ChampionVersion)
    assert (champion.name, champion.version, champion.metrics) == (registry.name, 1, {"regret": 0.25})
    assert (
        champion.tags.items()
        >= {"status": "champion", "promotion.reason": "the first one", "promotion.previous": "none"}.items()
    )

    registry.promote(second, "regret 0.20 instead of 0.25")
    registry.promote(second, "said twice")
    champion = registry.require_champion()
    assert champion.version == 2
    assert champion.tags["promotion.reason"] == "regret 0.20 instead of 0.25"
    assert champion.tags["promotion.previous"] == "1"
    retired = registry.tracking.client().get_model_version(registry.name, "1").tags
    assert (retired["status"], retired["retirement.by"]) == ("retired", "2")
    with pytest.raises(NoChampionError, match="alias 'candidate'"):
        registry.download("candidate")


def test_a_rejected_version_is_no_candidate_and_the_champion_stays(registry: Registry, tmp_path: Path) -> None:
    first, second = register(registry, tmp_path / "folder", "one"), register(registry, tmp_path / "folder", "two")
    registry.promote(first, "first")
    registry.reject(second, "worse than the champion")
    assert registry.require_champion().version == 1
    tags = registry.tracking.client().get_model_version(registry.name, "2").tags
    assert (tags["status"], tags["rejection.reason"]) == ("rejected", "worse than the champion")
    with pytest.raises(MetaflowHPOError, match="is the champion; promote another one"):
        registry.reject(first, "no")


def test_every_decision_is_kept_in_order_and_a_repetition_adds_none(registry: Registry, tmp_path: Path) -> None:
    first, second, third = (register(registry, tmp_path / "folder", name) for name in ("one", "two", "three"))
    pipeline = Pipeline(Settings(data=tmp_path / "data"))
    assert read_decisions(pipeline) == []
    registry.promote(first, "the first one")
    registry.promote(second, "better")
    registry.promote(second, "said twice")
    registry.reject(third, "worse")
    registry.reject(third, "worse")
    registry.promote(first, "version 2 is slower", by="person")
    decisions = read_decisions(pipeline)
    assert [(d.outcome, d.version, d.champion_before, d.by, d.reason) for d in decisions] == [
        ("promoted", 1, "none", "gate", "the first one"),
        ("promoted", 2, "1", "gate", "better"),
        ("rejected", 3, "2", "gate", "worse"),
        ("promoted", 1, "2", "person", "version 2 is slower"),
    ]
    assert all(decision.finished for decision in decisions)
    assert audit(pipeline)["champion"] == 1


def test_what_a_person_has_replaced_only_a_person_brings_back(registry: Registry, tmp_path: Path) -> None:
    first, second = register(registry, tmp_path / "folder", "one"), register(registry, tmp_path / "folder", "two")
    registry.promote(first, "first")
    registry.promote(second, "better")
    assert not registry.is_withdrawn(first)
    registry.promote(first, "rolled back", by="person")
    assert registry.is_withdrawn(second)
    registry.promote(second, "mended", by="person")
    assert not registry.is_withdrawn(second)


def test_a_decision_cut_short_is_seen_as_unfinished(registry: Registry, tmp_path: Path) -> None:
    version = register(registry, tmp_path / "folder")
    with (
        pytest.raises(MetaflowHPOError, match="the disk is full"),
        registry._decision("promoted", version, "r", "gate", "none"),
    ):
        raise MetaflowHPOError("the disk is full")
    (decision,) = read_decisions(Pipeline(Settings(data=tmp_path / "data")))
    assert not decision.finished
    assert registry.champion() is None


def test_an_audit_of_nothing_makes_no_database(tmp_path: Path) -> None:
    assert audit(Pipeline(Settings(data=tmp_path / "none"))) == {
        "name": "metaflow_hpo_surrogate",
        "champion": None,
        "decisions": [],
    }
    assert not (tmp_path / "none").exists()


def test_a_surrogate_is_downloaded_once_and_whole(registry: Registry, tmp_path: Path) -> None:
    first, second = register(registry, tmp_path / "folder", "one"), register(registry, tmp_path / "folder", "two")
    shutil.rmtree(tmp_path / "folder")
    registry.promote(first, "first")
    folder = registry.download("champion")
    assert folder == registry.download(first)
    assert [path.name for path in folder.iterdir()] == ["surrogate.json"]
    assert (folder / "surrogate.json").read_text() == "one"
    assert (registry.download("candidate") / "surrogate.json").read_text() == "two"
    assert folder != registry.download(second)
    assert len(list(folder.parent.iterdir())) == 2


def test_only_a_folder_and_finite_meta_features_are_registered(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(MetaflowHPOError, match="Expected the folder of a surrogate"):
        registry.register_surrogate(tmp_path / "none", run_id="r", input_example=EXAMPLE)
    for wrong, found in (
        (EXAMPLE.assign(mf_rows=float("nan")), r"not finite: \['mf_rows'\]"),
        (EXAMPLE.iloc[:0], "found 0 rows"),
    ):
        with pytest.raises(InvalidTableError, match=found):
            registry.register_surrogate(tmp_path, run_id="r", input_example=wrong)
    with pytest.raises(InvalidTableError, match="numbers only"):
        registry.register_surrogate(tmp_path, run_id="r", input_example=EXAMPLE.assign(mf_rows="x"))


def test_the_card_of_the_champion_is_on_its_version_and_on_the_registered_model(
    registry: Registry, tmp_path: Path
) -> None:
    first, second = (register(registry, tmp_path / f"surrogate_{i}") for i in range(2))
    registry.describe(first, "# Card of the first", {"regret.k1": "0.1"})
    registry.promote(first, "better")
    registry.describe(second, "# Card of the second", {"regret.k1": "0.2"})
    client = registry.tracking.client()
    assert registry.version(second).description == "# Card of the second"
    assert registry.version(second).tags["regret.k1"] == "0.2"
    model = client.get_registered_model(registry.name)
    assert model.tags["kind"] == "recommender"
    assert "**The champion is version 1**: regret.k1 0.1. Its card is there." in model.description
    registry.promote(second, "better still")
    assert "**The champion is version 2**: regret.k1 0.2." in client.get_registered_model(registry.name).description
    experiment = client.get_experiment_by_name("metaflow_hpo/decisions")
    assert experiment.tags["group"] == "3 champion"
    assert experiment.tags["mlflow.note.content"].startswith("One run a promotion")


@pytest.mark.parametrize("name", ["python_model.pkl", "artifacts/surrogate/weights.pt", "artifacts/surrogate/x.sh"])
def test_a_version_that_holds_what_may_run_code_is_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    """A pickle beside a good surrogate is enough: nothing is downloaded into the cache, and nobody can promote it."""
    good = registry.version(register(registry, tmp_path / "surrogate"))
    folder = tmp_path / "model"
    shutil.copytree(tmp_path / "surrogate", folder / "artifacts" / "surrogate")
    (folder / name).write_bytes(b"\x80\x04N.")
    bad = registry.tracking.client().create_model_version(registry.name, source=folder.as_uri(), run_id=good.run_id)
    with pytest.raises(MetaflowHPOError, match=f"JSON and safetensors only; found .*{Path(name).name}.* It is refused"):
        registry.download(int(bad.version))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
