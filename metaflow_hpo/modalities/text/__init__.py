"""Texts as a modality: sentences and documents in any language, each with a class."""
