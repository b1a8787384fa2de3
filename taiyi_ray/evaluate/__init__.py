"""Evaluation: a model measured on benchmarks, beside published numbers.

An evaluation is a corpus job: the documents of benchmarks are its sources, each with what is asked
about it, and a score is a pure function of the rows and the gold.

benchmark.py    a benchmark, and the list of them (benchmarks.yaml)
source.py       a benchmark as a source of the corpus job
scoring.py      rows and gold -> what each document adds to each metric
errors.py       kinds of errors
cases.py        a case study: texts without gold, answered and laid side by side
evaluation.py   the run, and the files that it writes
compare.py      runs side by side, by a paired bootstrap
side_by_side.py the same as it is shown, and as files
report.py       OUT/report.html
"""

from taiyi_ray.evaluate.evaluation import run

__all__ = ["run"]
