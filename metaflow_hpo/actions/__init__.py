"""What the program does for people and for the pipeline: read with an adapter, call the core, write with an adapter.

The one thing to know: the command line and Dagster call the same functions here; no adapter imports them.
"""
