"""Recordings with a class each."""
