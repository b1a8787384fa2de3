"""Instruction data: chats for training, made from the gold annotations of the catalogue's datasets.

plan.py         which documents become which files; it is put once
mixture.py      how often each dataset is asked about each task
instruction.py  what a document becomes: questions and the answers that state its gold
draws.py        random choices as pure functions of a seed
overlap.py      documents that occur in a test set
workers.py      the work on the cluster
build.py        the run
status.py       how far a build is, read from what it wrote
manifest.py     what was made: counts, losses, the report
tables.py       the same as tables
inputs.py       the files that are read, as they were when they were planned
"""

from taiyi_ray.instruct.build import run

__all__ = ["run"]
