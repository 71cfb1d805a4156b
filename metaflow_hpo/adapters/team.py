"""The team profile: Dagster and MLflow keep what they know in Postgres, and everyone talks to one MLflow server.

The one thing to know: `METAFLOW_HPO_POSTGRES_URL` is read from the environment only, never from a file. Each server
gets the address of its own database in its environment; no command line, log, tag or file holds the password.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from metaflow_hpo.adapters.files import write_text
from metaflow_hpo.adapters.secrets import hide_passwords
from metaflow_hpo.errors import MetaflowHPOError

if TYPE_CHECKING:
    from sqlalchemy import URL

URL_VARIABLE = "METAFLOW_HPO_POSTGRES_URL"
DAGSTER_VARIABLE = "METAFLOW_HPO_DAGSTER_DATABASE"
"""Where `dagster.yaml` of the team profile finds its address."""

_DRIVER = "postgresql+psycopg2"  # the one dagster-postgres brings; SQLAlchemy would look for another
_EXAMPLE = "postgresql://user:password@host:5432/metaflow_hpo"


def database_urls(environment: Mapping[str, str] = os.environ) -> "dict[str, URL]":
    """Return the addresses of the databases of `dagster` and `mlflow`: both have a table `runs`, so each has its own.

    They are named after the database in the variable: `metaflow_hpo_dagster` and `metaflow_hpo_mlflow`.

    Raises:
        MetaflowHPOError: If the variable is missing or no address of a Postgres database.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    text = environment.get(URL_VARIABLE, "")
    try:
        url = make_url(text)
    except ArgumentError:
        url = None
    found = "nothing" if not text else repr(hide_passwords(text))
    if url is None or url.get_backend_name() not in {"postgresql", "postgres"} or not url.database:
        raise MetaflowHPOError(
            f"The team profile expects {URL_VARIABLE}={_EXAMPLE} in the environment; found {found}. "
            "The names of the two databases start with its last part."
        )
    return {name: url.set(drivername=_DRIVER, database=f"{url.database}_{name}") for name in ("dagster", "mlflow")}


def create_databases(urls: "Mapping[str, URL]") -> None:
    """Create the databases that do not exist yet.

    Raises:
        MetaflowHPOError: If the extra `team` is not installed, the server does not answer, or may not be written to.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        for url in urls.values():
            _create_database(url)
    except ImportError as error:
        raise MetaflowHPOError(
            f"The team profile needs the extra `team`; {error.name} is missing. Try: pip install 'metaflow-hpo[team]'"
        ) from error
    except SQLAlchemyError as error:
        reason = hide_passwords(" ".join(str(error).split()))[:300]
        names = " and ".join(str(url.database) for url in urls.values())
        raise MetaflowHPOError(
            f"Expected a Postgres server that has the databases {names} or lets its user create them; found: {reason}. "
            f"Check {URL_VARIABLE}, or have an administrator run `CREATE DATABASE`."
        ) from None  # the original error may hold the address


def _create_database(url: "URL") -> None:
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with server.connect() as connection:
        exists = text("SELECT 1 FROM pg_database WHERE datname = :name")
        if connection.execute(exists, {"name": url.database}).scalar() is None:
            quoted = server.dialect.identifier_preparer.quote(str(url.database))
            connection.execute(text(f"CREATE DATABASE {quoted}"))


def write_instance(home: Path) -> Path:
    """Write the Dagster instance of the team beside the local one: the same settings, its storage in Postgres.

    Args:
        home: Folder of the local instance.

    Returns:
        The folder of the team's instance, `DAGSTER_HOME` of whoever works with it.
    """
    local = home / "dagster.yaml"
    settings: dict[str, Any] = (yaml.safe_load(local.read_text(encoding="utf-8")) if local.is_file() else {}) or {}
    settings["storage"] = {"postgres": {"postgres_url": {"env": DAGSTER_VARIABLE}}}
    text = f"# Made from ../dagster.yaml by `make ui PROFILE=team`.\n{yaml.safe_dump(settings, sort_keys=False)}"
    write_text(home / "team" / "dagster.yaml", text)
    return home / "team"
