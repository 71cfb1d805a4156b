"""Trials that other tools left behind, read as one history: one file a tool, beside what they share.

A person's package adds a tool by the entry point group `metaflow_hpo.past_trials`. Nothing is ever unpickled.
"""
