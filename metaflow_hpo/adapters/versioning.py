"""DVC: the md5 of what lies in `data/`, and recording it after a step has written.

The md5 of a file is its DVC cache key, and that of a folder (`<md5>.dir`) is the md5 of a
listing of its files; both are computed here without DVC, which takes a second to start.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from metaflow_hpo.adapters.files import TEMPORARY_PATTERN
from metaflow_hpo.adapters.secrets import hide_passwords
from metaflow_hpo.errors import MetaflowHPOError

logger = logging.getLogger("metaflow_hpo")

_NO_GIT = "none"
_OWN_REMOTE = "metaflow_hpo"
"""Name of the remote that the setting `dvc_remote` gives by its address."""


def file_md5(path: Path) -> str:
    """Return the md5 of a file's bytes, 32 hexadecimal digits: DVC's name of the file.

    Raises:
        MetaflowHPOError: If it is not a file.
    """
    if not path.is_file():
        raise MetaflowHPOError(
            f"Expected a file at {path}; found {'a folder' if path.is_dir() else 'nothing'}. Write it first."
        )
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def list_md5s(folder: Path) -> dict[str, str]:
    """Return the md5 of every file below a folder, by its path in the folder."""
    return {path.relative_to(folder).as_posix(): file_md5(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def find_changed(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Return which of the expected files of a folder are missing or others."""
    return [name for name, md5 in expected.items() if not _has_md5(folder / name, md5)]


def _has_md5(path: Path, md5: str) -> bool:
    return path.is_file() and file_md5(path) == md5


def data_md5(path: Path) -> str:
    """Return the data version of a file (its md5) or a folder (`<md5>.dir`), as `dvc.lock` has it.

    Temporary files of `write_atomically` are left out, as they are by `.dvcignore`.

    Raises:
        MetaflowHPOError: If there is nothing at `path`.
    """
    if not path.is_dir():
        return file_md5(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.match(TEMPORARY_PATTERN))
    entries = [{"md5": file_md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    listing = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"


def is_dvc_repository(root: Path) -> bool:
    """Tell whether `root` is the top folder of a DVC repository."""
    return (root / ".dvc").is_dir()


def recorded_md5(root: Path, out: str) -> str | None:
    """Return the md5 that `dvc.lock`, or the `.dvc` file beside it, holds for an output; None where neither does.

    Args:
        root: Top folder of the repository.
        out: Path of the output as DVC writes it, e.g. `data/meta_dataset.parquet`.

    Raises:
        MetaflowHPOError: If that file is not valid YAML.
    """
    for stage in _stages(root / "dvc.lock").values():
        for item in stage.get("outs", []):
            if item.get("path") == out:
                return str(item["md5"])
    for item in _read_yaml(root / f"{out}.dvc").get("outs") or []:
        return str(item["md5"])
    return None


def commit_stages(root: Path, stages: Iterable[str]) -> list[str]:
    """Record in `dvc.lock` and the cache what stages of `dvc.yaml` have written outside DVC (`dvc commit --force`).

    Args:
        root: Top folder of the repository.
        stages: Names of stages; those of which a dependency or an output is missing are left out.

    Returns:
        The stages that were committed.

    Raises:
        MetaflowHPOError: If a stage is unknown, or DVC fails.
    """
    defined = _stages(root / "dvc.yaml")
    wanted = list(dict.fromkeys(stages))
    unknown = sorted(set(wanted) - set(defined))
    if unknown:
        raise MetaflowHPOError(
            f"Expected stages of {root / 'dvc.yaml'}: {sorted(defined)}; found {unknown}. Correct the name."
        )
    ready = [name for name in wanted if _is_written(root, defined[name])]
    if ready:
        _dvc(root, "commit", "--force", *ready)
    return ready


def add_outs(root: Path, outs: Iterable[str]) -> list[str]:
    """Record files and folders that no stage of `dvc.yaml` writes, each in a `.dvc` file beside it (`dvc add`).

    Returns:
        Those that are there.

    Raises:
        MetaflowHPOError: If DVC fails.
    """
    ready = [out for out in outs if (root / out).exists()]
    if ready:
        _dvc(root, "add", *ready)
    return ready


def record(root: Path, stages: Iterable[str], remote: str | None, outs: Iterable[str] = ()) -> dict[str, str]:
    """Record what stages have written, and copy it to a remote where one is given.

    A remote that cannot be reached costs the copy, not the step: the next one copies what is missing.

    Args:
        root: Top folder of the project.
        stages: Names of stages of `dvc.yaml`.
        remote: Name of a remote, or the address of a folder, bucket or host; None: nothing is copied.
        outs: What was written beside these stages.

    Returns:
        What became of it, to be shown: `dvc` and, where something was recorded, `dvc_push`.

    Raises:
        MetaflowHPOError: If DVC cannot record it.
    """
    if not is_dvc_repository(root):
        return {"dvc": f"not recorded: {root} is no DVC repository (`git init` and `dvc init` make it one)"}
    committed = [*commit_stages(root, stages), *add_outs(root, outs)]
    if not committed:
        return {"dvc": "not recorded: the stages of dvc.yaml have not written all their files"}
    recorded = {"dvc": f"recorded: {', '.join(committed)}"}
    if remote is None:
        return {**recorded, "dvc_push": "no remote: set METAFLOW_HPO_DVC_REMOTE"}
    shown = hide_passwords(remote)
    try:
        push(root, _name_remote(root, remote))
    except MetaflowHPOError as error:
        reason = hide_passwords(str(error))
        logger.warning("Versions are recorded, but not copied to %s: %s", shown, reason)
        return {**recorded, "dvc_push": f"failed, the next run tries again: {reason}"}
    return {**recorded, "dvc_push": f"copied to {shown}"}


def _name_remote(root: Path, remote: str) -> str:
    """Return the name of a remote; one given by its address is entered in `.dvc/config.local`, which git ignores."""
    if "/" not in remote and "\\" not in remote:
        return remote
    if hide_passwords(remote) != remote:
        raise MetaflowHPOError(
            f"Expected a DVC remote without a password in its address; found {hide_passwords(remote)}. "
            "Keep it where the storage's own client looks: AWS_SECRET_ACCESS_KEY, or an SSH agent."
        )
    _dvc(root, "remote", "add", "--local", "--force", _OWN_REMOTE, remote)
    return _OWN_REMOTE


def push(root: Path, remote: str | None = None) -> None:
    """Copy the cached versions to the DVC remote (the default one, unless named).

    Raises:
        MetaflowHPOError: If there is no remote or it does not answer.
    """
    _dvc(root, "push", *(["--remote", remote] if remote else []))


def git_revision(root: Path) -> tuple[str, bool]:
    """Return the git commit of `root` and whether tracked files differ from it; `("none", False)` outside git."""
    revision = _git(root, "rev-parse", "HEAD")
    if revision is None:
        return _NO_GIT, False
    return revision, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603, S607
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _dvc(root: Path, *arguments: str) -> None:
    if not is_dvc_repository(root):
        raise MetaflowHPOError(
            f"Expected a DVC repository at {root}; found no .dvc folder. Run `git init` and `dvc init` there."
        )
    # CI is the one switch of the check for updates that is no setting of the repository.
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "CI": "true"}
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or [f"exit code {done.returncode}"]
        raise MetaflowHPOError(
            f"`dvc {' '.join(arguments)}` failed in {root}: {errors[-1]}. "
            "See `dvc status` and `dvc remote list`; where another DVC command is running, wait for its end."
        )


def _stages(file: Path) -> dict[str, Mapping[str, Any]]:
    return dict(_read_yaml(file).get("stages") or {})


def _read_yaml(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except yaml.YAMLError as error:
        found = " ".join(str(error).split())
        raise MetaflowHPOError(f"Expected YAML in {file}; found: {found}. Run `git checkout {file.name}`.") from error


def _is_written(root: Path, stage: Mapping[str, Any]) -> bool:
    """Tell whether all that a stage reads and writes is there: DVC refuses to commit a stage otherwise."""
    folder = root / str(stage.get("wdir", "."))
    outs = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    items = [*outs, *stage.get("deps", [])]
    names = [next(iter(item)) if isinstance(item, Mapping) else item for item in items]
    return bool(outs) and all((folder / name).exists() for name in names)
