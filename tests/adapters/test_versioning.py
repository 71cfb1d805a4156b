import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from metaflow_hpo.adapters import versioning
from metaflow_hpo.errors import MetaflowHPOError


def dvc(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def git(root: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=root, check=True, capture_output=True
    )


@pytest.fixture
def git_folder(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet")
    return root


@pytest.fixture
def repository(git_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("CI", "true")
    dvc(git_folder, "init", "--quiet")
    (git_folder / "data").mkdir()
    return git_folder


STAGES = {
    "stages": {
        "meta_dataset": {
            "cmd": "false",
            "deps": ["data/tasks"],
            "outs": [{"data/meta_dataset.txt": {"persist": True}}],
        },
        "evaluate": {"cmd": "false", "deps": ["data/meta_dataset.txt"], "outs": ["data/evaluation"]},
    }
}


def write_pipeline(root: Path) -> None:
    (root / "dvc.yaml").write_text(yaml.safe_dump(STAGES))
    (root / "data" / "tasks").mkdir()
    (root / "data" / "tasks" / "iris.txt").write_text("iris")
    (root / "data" / "meta_dataset.txt").write_text("one")


def test_the_md5_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\r\n")
    assert versioning.file_md5(tmp_path / "a") == "af5597c29467a96523a70787c319f4db"
    assert versioning.data_md5(tmp_path / "a") == versioning.file_md5(tmp_path / "a")


def test_the_md5_of_what_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(MetaflowHPOError, match=r"Expected a file at .*; found nothing"):
        versioning.data_md5(tmp_path / "a")
    with pytest.raises(MetaflowHPOError, match="found a folder"):
        versioning.file_md5(tmp_path)


def test_the_md5_of_a_folder_does_not_see_temporary_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    before = versioning.data_md5(tmp_path)
    (tmp_path / ".a.123.tmp").write_text("half")
    assert versioning.data_md5(tmp_path) == before
    (tmp_path / "b").write_text("b")
    assert versioning.data_md5(tmp_path) != before


def test_the_recorded_md5_is_read_from_the_lock_file(tmp_path: Path) -> None:
    assert versioning.recorded_md5(tmp_path, "data/a") is None
    lock = {
        "schema": "2.0",
        "stages": {"s": {"cmd": "x", "outs": [{"path": "data/a", "md5": "0" * 32}]}, "t": {"cmd": "y"}},
    }
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert versioning.recorded_md5(tmp_path, "data/a") == "0" * 32
    assert versioning.recorded_md5(tmp_path, "data/b") is None
    (tmp_path / "dvc.lock").write_text("a: [")
    with pytest.raises(MetaflowHPOError, match=r"Expected YAML in .*git checkout dvc\.lock"):
        versioning.recorded_md5(tmp_path, "data/a")


def test_an_unknown_stage_is_named(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(STAGES))
    with pytest.raises(MetaflowHPOError, match=r"'evaluate', 'meta_dataset'\]; found \['nope'\]"):
        versioning.commit_stages(tmp_path, ["nope", "evaluate"])


def test_stages_that_have_not_written_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(STAGES))
    assert versioning.commit_stages(tmp_path, ["evaluate", "meta_dataset"]) == []


def test_outside_a_dvc_repository_the_remedy_is_given(tmp_path: Path) -> None:
    assert not versioning.is_dvc_repository(tmp_path)
    with pytest.raises(MetaflowHPOError, match="Run `git init` and `dvc init` there"):
        versioning.push(tmp_path)


def test_the_git_revision_is_none_outside_git_and_before_the_first_commit(tmp_path: Path, git_folder: Path) -> None:
    assert versioning.git_revision(tmp_path) == ("none", False)
    assert versioning.git_revision(git_folder) == ("none", False)


def test_the_git_revision_says_whether_tracked_files_were_changed(git_folder: Path) -> None:
    (git_folder / "a").write_text("1")
    git(git_folder, "add", "a")
    git(git_folder, "commit", "-m", "a")
    (git_folder / "untracked").write_text("1")
    revision, is_dirty = versioning.git_revision(git_folder)
    assert len(revision) == 40
    assert not is_dirty
    (git_folder / "a").write_text("2")
    assert versioning.git_revision(git_folder) == (revision, True)


def test_without_git_there_is_no_revision(git_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert versioning.git_revision(git_folder) == ("none", False)


@pytest.mark.integration
def test_md5s_are_those_of_dvc_add(repository: Path) -> None:
    folder = repository / "data" / "folder"
    for name in ("b.txt", "a/c.txt", "a.txt", "a-b.txt", "Z.txt", "é x.txt", "empty"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"" if name == "empty" else name.encode() + b"\r\n")
    (repository / "data" / "file.txt").write_bytes(b"one\r\ntwo\n")
    dvc(repository, "add", "--quiet", "data/folder", "data/file.txt")
    for name in ("folder", "file.txt"):
        recorded = yaml.safe_load((repository / "data" / f"{name}.dvc").read_text())["outs"][0]["md5"]
        assert versioning.data_md5(repository / "data" / name) == recorded


@pytest.mark.integration
def test_a_change_made_outside_dvc_is_committed_pushed_and_pulled(repository: Path, tmp_path: Path) -> None:
    write_pipeline(repository)
    stages = ["meta_dataset", "evaluate"]
    assert versioning.commit_stages(repository, stages) == ["meta_dataset"]
    out = repository / "data" / "meta_dataset.txt"
    first = versioning.recorded_md5(repository, "data/meta_dataset.txt")
    assert first == versioning.data_md5(out)

    out.unlink()
    out.write_text("two")
    (repository / "data" / "evaluation").mkdir()
    (repository / "data" / "evaluation" / "table.txt").write_text("table")
    assert versioning.commit_stages(repository, stages) == stages
    assert versioning.recorded_md5(repository, "data/meta_dataset.txt") == versioning.data_md5(out) != first
    recorded = versioning.recorded_md5(repository, "data/evaluation")
    assert recorded == versioning.data_md5(repository / "data" / "evaluation")
    assert "up to date" in dvc(repository, "status")

    with pytest.raises(MetaflowHPOError, match=r"`dvc push` failed in .*: ERROR: .*no remote"):
        versioning.push(repository)
    dvc(repository, "remote", "add", "--quiet", "--default", "store", str(tmp_path / "store"))
    versioning.push(repository)
    assert len([path for path in (tmp_path / "store").rglob("*") if path.is_file()]) == 3
    out.unlink()
    dvc(repository, "pull")
    assert out.read_text() == "two"


def test_without_a_dvc_repository_it_is_said_and_nothing_fails(tmp_path: Path) -> None:
    assert "is no DVC repository" in versioning.record(tmp_path, ["meta_dataset"], None)["dvc"]


@pytest.mark.integration
def test_what_is_recorded_goes_to_the_remote_of_the_setting_and_a_dead_one_costs_only_the_copy(
    repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pipeline(repository)
    assert "have not written" in versioning.record(repository, ["evaluate"], None)["dvc"]
    shown = versioning.record(repository, ["meta_dataset"], "unknown_remote")
    assert shown["dvc"] == "recorded: meta_dataset"
    assert shown["dvc_push"].startswith("failed, the next run tries again")
    assert "not copied to unknown_remote" in caplog.text
    recorded = versioning.recorded_md5(repository, "data/meta_dataset.txt")
    assert recorded == versioning.data_md5(repository / "data" / "meta_dataset.txt")

    store = tmp_path / "store"
    assert versioning.record(repository, ["meta_dataset"], str(store))["dvc_push"] == f"copied to {store}"
    assert [path.name for path in store.rglob(f"{recorded[2:]}*")] == [recorded[2:]]
    assert str(store) in (repository / ".dvc" / "config.local").read_text()


def test_a_remote_with_a_password_in_its_address_is_refused_and_the_password_not_shown(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pipeline(repository)
    recorded = versioning.record(repository, ["meta_dataset"], "ssh://me:s3cret-word@host/versions")
    assert "without a password in its address; found ssh://me:***@host/versions" in recorded["dvc_push"]
    assert "s3cret-word" not in recorded["dvc_push"] + caplog.text
    assert not [p for p in repository.rglob("*") if p.is_file() and b"s3cret-word" in p.read_bytes()]
