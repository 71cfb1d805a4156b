"""2. train the surrogate: data module, network, Lightning module, fit, predict: f(T, theta) -> p."""
