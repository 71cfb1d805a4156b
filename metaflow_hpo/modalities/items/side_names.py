"""What people call the two sides of a split that comes with their data."""

TRAIN, TEST = "train", "test"
_TRAIN = {"train", "training", "val", "valid", "validation", "dev"}
_TEST = {"test", "testing", "eval", "evaluation", "holdout"}


def side_of(name: str) -> str:
    """Return the side that a name means; empty where it means none. What is for validation is learned from."""
    plain = name.strip().lower()
    return TRAIN if plain in _TRAIN else TEST if plain in _TEST else ""
