"""1. collect: catalogue, search strategies, meta-features: (T, theta, p)."""
