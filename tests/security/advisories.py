"""Known vulnerabilities from a folder of advisories, for where no database of them can be reached.

The one thing to know: advisories are records in OSV's format, YAML or JSON, at any depth of the folder: a clone of
https://github.com/pypa/advisory-database, or the unpacked `PyPI/all.zip` of https://osv.dev. They are as old as it is.

References:
    Open Source Vulnerability format, https://ossf.github.io/osv-schema/.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


def find_known(folder: Path, versions: Mapping[str, str]) -> tuple[list[str], int]:
    """Return what is known of packages, and the number of advisories about them that were read.

    Args:
        folder: The advisories.
        versions: Version by name of the package.

    Raises:
        ValueError: If there is no advisory in the folder.
    """
    installed = {canonicalize_name(name): Version(version) for name, version in versions.items()}
    known, about, read = [], 0, 0
    for record in _read_records(folder):
        read += 1
        affected = [one for one in record.get("affected", []) if one.get("package", {}).get("ecosystem") == "PyPI"]
        mine = [(name, one) for one in affected if (name := canonicalize_name(one["package"]["name"])) in installed]
        about += bool(mine)
        if not record.get("withdrawn"):
            hit = [name for name, one in mine if _is_affected(installed[name], one)]
            known += [f"{name} {installed[name]}: {record['id']} {_summary(record)}" for name in dict.fromkeys(hit)]
    if not read:
        raise ValueError(f"Expected advisories (*.yaml, *.json in OSV's format) in {folder}; found none.")
    return sorted(known), about


def _read_records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".yaml", ".json"} and path.is_file():
            text = path.read_text(encoding="utf-8")
            record = json.loads(text) if path.suffix == ".json" else yaml.load(text, yaml.CSafeLoader)
            if isinstance(record, dict) and "id" in record and "affected" in record:
                yield record


def _is_affected(version: Version, affected: Mapping[str, Any]) -> bool:
    listed = any(_parse(text) == version for text in affected.get("versions", []))
    ranges = [one for one in affected.get("ranges", []) if one.get("type") in {"ECOSYSTEM", "SEMVER"}]
    return listed or any(_is_within(version, one.get("events", [])) for one in ranges)


def _is_within(version: Version, events: list[Mapping[str, str]]) -> bool:
    """Tell whether a version lies in a range: the last event at or below it decides."""
    inside = False
    known = [(kind, limit) for event in events for kind, text in event.items() if (limit := _parse(text)) is not None]
    for kind, limit in sorted(known, key=lambda one: (one[1], one[0] == "introduced")):
        if kind == "introduced" and version >= limit:
            inside = True
        if (kind == "fixed" and version >= limit) or (kind == "last_affected" and version > limit):
            inside = False
    return inside


def _parse(text: str) -> Version | None:
    try:
        return Version("0.dev0" if text == "0" else text)
    except InvalidVersion:
        return None


def _summary(record: Mapping[str, Any]) -> str:
    aliases = ", ".join(record.get("aliases", []))
    said = " ".join((record.get("summary") or record.get("details") or "").split())[:100]
    return f"({aliases}) {said}" if aliases else said
