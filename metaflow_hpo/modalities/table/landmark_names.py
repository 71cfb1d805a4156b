"""Which landmarks there are, without the learners that measure them: whoever reads them need not import these."""

LEARNING_RATES = {"slow": 3e-4, "middle": 3e-3, "fast": 3e-2}
"""Learning rates of the networks, by name."""

EPOCHS = 5
"""Epochs of the networks, which are scored after the first and after the last."""

SIMPLE = ("nearest_neighbour", "linear", "stump")
"""Names of the probes that are not networks."""

LANDMARKS = (
    *SIMPLE,
    *(f"network_{name}_{when}" for name in LEARNING_RATES for when in ("1_epoch", f"{EPOCHS}_epochs")),
)
"""Names of the landmarks."""
