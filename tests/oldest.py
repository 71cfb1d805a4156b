"""The oldest version of each package that `pip install metaflow-hpo` allows, for `make test-oldest`."""

import re
import tomllib
from pathlib import Path


def main() -> None:
    """Print `name==version` for each dependency of the core."""
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    print(*(re.sub(r">=([^,]+).*", r"==\1", one) for one in pyproject["project"]["dependencies"]))


if __name__ == "__main__":
    main()
