"""Run the service: `python -m metaflow_hpo.adapters.serving`; people start it with `make serve`."""

import argparse
import logging
import sys

from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.settings import Settings


def main() -> int:
    """Serve until told to stop; 1 where there is nothing to serve."""
    from metaflow_hpo.adapters.serving.app import Service
    from metaflow_hpo.adapters.serving.champion import ChampionFollower
    from metaflow_hpo.adapters.serving.host import make_server

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--poll-s", type=float, default=2.0, help="seconds between two looks at the alias")
    parser.add_argument("--learner", help="whose champion is served; the setting's unless given")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("metaflow_hpo").setLevel(logging.INFO)
    try:
        settings = Settings.load(**({} if chosen.learner is None else {"learner": chosen.learner}))
        follower = ChampionFollower(Pipeline(settings).registry)
    except MetaflowHPOError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    make_server(Service(follower, chosen.poll_s).app(), chosen.port, settings.allowed_hosts).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
