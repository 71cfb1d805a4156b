import csv
import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("audit", HERE / "audit.py")
assert SPEC is not None
assert SPEC.loader is not None
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
        "Apache-2.0 OR GPL-2.0-or-later",
        "MPL-2.0 AND (Apache-2.0 OR MIT)",
        "Apache Software License; BSD License",
        "GNU Library or Lesser General Public License (LGPL)",
    ],
)
def test_a_permissive_choice_is_allowed(licence: str) -> None:
    assert audit.find_refused({"package": licence}) == []


@pytest.mark.parametrize(
    "licence",
    ["UNKNOWN", "GPL-3.0", "MIT AND GPL-3.0", "GNU Affero General Public License v3", "GNU General Public License v2"],
)
def test_copyleft_and_unknown_licences_are_refused_unless_read_by_hand(licence: str) -> None:
    assert audit.find_refused({"package": licence}) == [f"package: {licence}"]
    assert audit.find_refused({"grandalf": licence}) == []


def test_every_licence_in_the_list_of_the_repository_is_allowed() -> None:
    with (HERE / "licences.csv").open() as file:
        licences = {line["Name"]: line["License"] for line in csv.DictReader(file)}
    assert len(licences) > 150
    assert audit.find_refused(licences) == []
