"""Images as a modality."""
