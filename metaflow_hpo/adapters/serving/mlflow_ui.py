"""MLflow's server behind a guard: MLflow itself lets pages of any port of this machine in.

`python -m metaflow_hpo.adapters.serving.mlflow_ui`; people start it with `make ui`. Its database and the folder of
artifacts stand in MLflow's own variables, as everyone can read command lines.
"""

import argparse
import os
import uuid

from metaflow_hpo.adapters.serving.host import make_server
from metaflow_hpo.settings import Settings


def main() -> None:
    """Serve until told to stop, as `mlflow server` does with one worker."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=5000)
    chosen = parser.parse_args()
    hosts = Settings.load().allowed_hosts
    database, artifacts = os.environ["MLFLOW_BACKEND_STORE_URI"], os.environ["MLFLOW_ARTIFACTS_DESTINATION"]
    if hosts:
        os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = "*"  # the guard looks at them
        os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(f"http*://{host}*" for host in hosts)

    from mlflow.server import constants

    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: database,
        constants.REGISTRY_STORE_URI_ENV_VAR: database,
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_SERVER_BOOT_ID": uuid.uuid4().hex,
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
    }
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(database, database, "mlflow-artifacts:/")
    make_server(app, chosen.port, hosts).run()


if __name__ == "__main__":
    main()
