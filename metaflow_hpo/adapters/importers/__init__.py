"""Importers: published benchmarks turned into trial tables, one file a benchmark."""
