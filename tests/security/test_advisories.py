"""Advisories in OSV's format, compared with what is installed. The records here are made up."""

import json
from pathlib import Path

import pytest
import yaml

from tests.security.advisories import find_known


def write(folder: Path, name: str, package: str, *, events=(), versions=(), **more) -> None:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges, "versions": list(versions)}
    record = {"id": name, "details": "All is\nlost.", "affected": [affected], **more}
    path = folder / package / name
    path.parent.mkdir(exist_ok=True, parents=True)
    if name.startswith("GHSA"):
        path.with_suffix(".json").write_text(json.dumps(record))
    else:
        path.with_suffix(".yaml").write_text(yaml.safe_dump(record))


@pytest.mark.parametrize(
    ("version", "is_known"),
    [("0.9", False), ("1.0", True), ("1.4.9", True), ("1.5", False), ("2.0rc1", False), ("2.0", True), ("2.2", True)],
)
def test_a_version_is_known_from_its_introduction_to_its_mending(tmp_path, version, is_known):
    events = [{"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"last_affected": "2.2"}]
    write(tmp_path, "PYSEC-1", "some_thing", events=events)
    known, about = find_known(tmp_path, {"Some.Thing": version})
    assert bool(known) == is_known
    assert about == 1


def test_what_was_never_mended_is_known_of_every_version_and_says_its_names(tmp_path):
    write(tmp_path, "GHSA-1", "other", events=[{"introduced": "0"}], aliases=["CVE-1"])
    assert find_known(tmp_path, {"other": "99"})[0] == ["other 99: GHSA-1 (CVE-1) All is lost."]


def test_a_listed_version_is_known_however_it_is_written(tmp_path):
    write(tmp_path, "PYSEC-2", "listed", versions=["1.0", "not a version"])
    assert len(find_known(tmp_path, {"listed": "1.0.0"})[0]) == 1
    assert find_known(tmp_path, {"listed": "1.0.1"})[0] == []


def test_a_withdrawn_advisory_and_those_of_others_do_not_count(tmp_path):
    write(tmp_path, "PYSEC-3", "mine", events=[{"introduced": "0"}], withdrawn="2024-01-01T00:00:00Z")
    write(tmp_path, "PYSEC-4", "others", events=[{"introduced": "0"}])
    assert find_known(tmp_path, {"mine": "1"}) == ([], 1)


def test_a_folder_without_advisories_is_refused(tmp_path):
    (tmp_path / "notes.yaml").write_text("- nothing")
    with pytest.raises(ValueError, match=r"Expected advisories .* found none"):
        find_known(tmp_path, {"mine": "1"})
