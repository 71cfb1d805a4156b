"""Who proposes the next configurations of a search: one protocol, one file a strategy or a few that belong together."""
