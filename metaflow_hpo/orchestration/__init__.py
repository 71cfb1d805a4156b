"""Edge: Dagster only. Assets on one page, checks, partitions, resources, automation; the work is done in `actions`."""
