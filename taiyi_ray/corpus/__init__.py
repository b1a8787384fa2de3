"""The input and the output of a corpus: jobs, exports and the service's batches use this package.

It needs neither an engine nor Ray.

source.py   what every source can do, and what the plan keeps of it
sources.py  the files of an input as sources; the table of the kinds of sources
plan.py     the sources cut into units: a part of the plan is written once and never changed
units.py    runs of consecutive records, each committed whole by one object
output.py   the reading side of an output: footers, rows, totals
"""
