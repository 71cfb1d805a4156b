"""Edge: files of `data/`, task sources, MLflow tracking and registry, DVC, Ray, servers, secrets, terminal.

The one thing to know: an adapter reads or writes one outside thing and decides nothing; what is done with it is said in
`actions`.
"""
