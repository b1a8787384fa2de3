"""Benchmarks: one command each (`make bench-...`); README.md has their tables, LOG.md the story."""
