"""A corpus, in and out: what jobs, exports and the service's batches stand on; no engine, no Ray.

sources.py  the files of an input, how they are called, and whether they changed
plan.py     the sources cut into units: written once, extended, never changed
units.py    runs of consecutive records, each committed whole by one object
output.py   the reading side of an output: footers, rows, totals
"""
