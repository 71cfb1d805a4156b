"""The same as the program `metaflow-hpo`: `python -m metaflow_hpo.cli`."""

from metaflow_hpo.cli import main

if __name__ == "__main__":
    main()
