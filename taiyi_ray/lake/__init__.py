"""The lake: the present state of a corpus as Delta tables, made from outputs of `annotate`.

An output is a record of facts: every record of every file has one row, also when it was revised or
deleted later. The lake holds the newest version of each document in flat tables, and what changed.
It needs neither an engine nor Ray.

tables.py    the tables: their columns, their order, and how rows of an output become theirs
rule.py      the state rule: which revision of a document counts, and whose annotations it has
commits.py   DIR/_lake/<n>.json: the object whose existence commits an update, and what it says
delta.py     the Delta logs, which follow the commits; what another program did to them
staging.py   the new rows of outputs, sorted into ranges of documents on the local disk
ranges.py    ranges of documents are brought to their new state
arrow.py     rows in the order of many columns, entries of a list column
update.py    an update: what is new is taken, the ranges are written anew, all is committed at once
pinned.py    the tables as they were at one commit, for DuckDB
ask.py       queries, the history of a document, what changed
check.py     whether the tables are what the ledger says
upkeep.py    removing files that no commit needs any more; making the Delta logs anew
dialects.py  the statements that register the tables in DuckDB, Spark, Trino, Athena and dbt
commands.py  the commands `taiyi-ray lake ...`
"""
