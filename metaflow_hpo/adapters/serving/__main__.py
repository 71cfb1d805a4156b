"""Run the service: `python -m metaflow_hpo.adapters.serving`; people start it with `make serve`."""

import argparse
import logging
import sys

from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.servers import HOST
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.settings import Settings


def main() -> int:
    """Serve until told to stop; 1 where there is nothing to serve."""
    import torch
    import uvicorn

    from metaflow_hpo.adapters.serving.app import Service
    from metaflow_hpo.adapters.serving.champion import ChampionFollower

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--poll-s", type=float, default=2.0, help="seconds between two looks at the alias")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("metaflow_hpo").setLevel(logging.INFO)
    torch.set_num_threads(1)  # the pool is what uses the processors
    try:
        follower = ChampionFollower(Pipeline(Settings.load()).registry)
    except MetaflowHPOError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    app = Service(follower, chosen.poll_s).app()
    # h11 bounds the size of a request's head, which uvicorn's faster parser does not.
    uvicorn.run(app, host=HOST, port=chosen.port, http="h11", log_level="warning", access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
