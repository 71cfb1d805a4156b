"""4. evaluate: leave-family-out protocol, regret, statistics, realised performance, gate, plots."""
