"""A lake of a million documents: the first build, a daily update, queries, memory; and its growth.

The outputs are made of real abstracts, repeated under other PMIDs, with 19 mentions a document:
words of the text. An update is a file of 18,000 records, 80 % of them revisions, of which 97.5 %
change the metadata alone, as PubMed's do. Queries over the lake stand beside the same over the unit
files of the output.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpora import pubmed, read
from benchmarks.measure import Row, say, seconds, write
from taiyi_ray import storage
from taiyi_ray.annotation import Annotated
from taiyi_ray.corpus.output import FOOTER, Output, Totals
from taiyi_ray.corpus.plan import Job, Part, PlannedSource, add_part, load_job, load_plan, put_job
from taiyi_ray.corpus.units import Unit
from taiyi_ray.lake.ask import query
from taiyi_ray.lake.commits import opened
from taiyi_ray.records import SCHEMA, Annotations, Mention

SIZES = (100_000, 1_000_000)
MENTIONS = 19
UNIT, FILE = 1000, 30_000
UPDATE, REVISIONS, SAME_TEXT = 18_000, 0.8, 0.975

TYPES = ("disease", "chemical", "gene", "species", "cell_line", "variant", "anatomy", "protein")


def _template(folder: Path) -> pa.Table:
    """A unit's rows: real abstracts with mentions."""
    draw = random.Random(1)
    rows: list[dict[str, Any]] = []
    texts = read(pubmed(folder, UNIT))
    while len(rows) < UNIT:
        document = texts[len(rows) % len(texts)]
        document.position = len(rows)
        words = list(re.finditer(r"\w{4,}", document.text))
        chosen = sorted(draw.sample(words, min(MENTIONS, len(words))), key=lambda m: m.start())
        annotated = Annotated(document)
        annotated.annotations = Annotations(
            mentions=[
                Mention(
                    n, draw.choice(TYPES), m[0], *m.span(), passage=document.passage_at(m.start())
                )
                for n, m in enumerate(chosen)
            ]
        )
        rows.append(annotated.row(unit="", run_id="20260101T000000-aaaaaa", fingerprint="f"))
    return pa.Table.from_pylist(rows, SCHEMA)


def _file(output: str, name: str, template: pa.Table, pmids: Sequence[int], change: str) -> None:
    """Add a source of these PMIDs to an output."""
    source = f"{name}-01234567"
    bounds = [(first, min(first + UNIT, len(pmids)) - 1) for first in range(0, len(pmids), UNIT)]
    planned = PlannedSource(
        path=f"/in/{name}", size=1, tag="t", sha256=None, name=source, format="pubmed",
        complete=True, units=bounds,
    )  # fmt: skip
    part, job = Part(sources=[planned]), load_job(output)
    if job is None:
        put_job(output, Job(fingerprint="f", identity={}, config={}, versions={}, part=part))
    else:
        add_part(output, len(load_plan(output, job).parts), part)
    reading = Output(output)
    for first, last in bounds:
        size = last - first + 1
        unit = Unit(source=source, path="", first=first, last=last)
        ids = pmids[first : last + 1]
        columns = {
            "document_id": [str(pmid) for pmid in ids],
            "version": [1] * size,
            "position": list(range(first, last + 1)),
            "source": [source] * size,
            "unit": [unit.name] * size,
            "content_hash": [f"{pmid * 2654435761:064x}" for pmid in ids],
        }
        if change:
            columns["title"] = [change] * size
            columns["content_hash"] = [
                f"{pmid * 2654435761 + (pmid % 1000 >= SAME_TEXT * 1000):064x}" for pmid in ids
            ]
        rows = template.slice(0, size)
        for column, values in columns.items():
            number, field = SCHEMA.get_field_index(column), SCHEMA.field(column)
            rows = rows.set_column(number, field, pa.array(values, field.type))
        footer = {"unit": unit.name, "attempt": "a", "run_id": "r", "totals": Totals().as_dict()}
        buffer = io.BytesIO()
        rows = rows.replace_schema_metadata({FOOTER: json.dumps(footer)})
        pq.write_table(rows, buffer, compression="zstd")
        storage.put_if_absent(reading.path(unit), buffer.getvalue())


def _files(size: int) -> Iterator[tuple[str, range]]:
    for number, first in enumerate(range(1, size + 1, FILE), 1):
        yield f"pubmed26n{number:04d}.xml.gz", range(first, min(first + FILE, size + 1))


_UPDATE = """
import resource, sys, time
from taiyi_ray.lake.update import update
began, worked = time.perf_counter(), time.process_time()
update(sys.argv[1], sys.argv[2:])
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.perf_counter() - began, time.process_time() - worked, memory)
"""


def _updated(lake: str, output: str) -> dict[str, float]:
    """Update in a process of its own; return what it took of time, of CPU time and of memory."""
    command = [sys.executable, "-c", _UPDATE, lake, output]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return dict(zip(("seconds", "CPU seconds", "MiB"), map(float, found), strict=True))


def _queries(lake: str, output: str, surface: str) -> dict[str, tuple[float, float]]:
    """Seconds of the same questions over the lake and over the output's unit files."""
    questions = {
        "one surface": (
            f"SELECT pmid, start FROM mentions WHERE text = '{surface}'",
            f"SELECT document_id, m.start FROM rows, unnest(mentions) AS e(m) "
            f"WHERE m.text = '{surface}'",
        ),
        "top diseases": (
            "SELECT text, count(*) AS n FROM mentions WHERE type = 'disease' "
            "GROUP BY text ORDER BY n DESC LIMIT 20",
            "SELECT m.text, count(*) AS n FROM rows, unnest(mentions) AS e(m) "
            "WHERE m.type = 'disease' GROUP BY m.text ORDER BY n DESC LIMIT 20",
        ),
    }

    def of_lake(sql: str) -> None:
        with query(lake, sql) as found:
            found.read_all()

    figures = {}
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE VIEW rows AS FROM read_parquet('{output}/annotations/*/*.parquet')"
        )
        for name, (ours, theirs) in questions.items():
            times = [seconds(lambda sql=ours: of_lake(sql)) for _ in range(5)]
            other = seconds(lambda sql=theirs: connection.sql(sql).fetchall())
            figures[name] = (sorted(times)[2], other)
    return figures


def _held(lake: str) -> dict[tuple[str, str], int]:
    """The files of a lake, by table and path, with their sizes in bytes."""
    tables = opened(lake).files.items()
    return {(table, path): file.size for table, files in tables for path, file in files.items()}


def _measure(size: int, folder: Path) -> Iterator[Row]:
    output, lake = str(folder / f"out-{size}"), str(folder / f"lake-{size}")
    template = _template(folder)
    for name, pmids in _files(size):
        _file(output, name, template, pmids, "")
    say(f"{size:,} documents are there")
    figures = _updated(lake, output)
    built = _held(lake)
    note = f"{len(built):,} files, {sum(built.values()) / size:,.0f} bytes a document"
    yield _row(size, "first build", figures, note)
    say(f"built: {figures}")
    draw = random.Random(2)
    revised = draw.sample(range(1, size + 1), int(UPDATE * REVISIONS))
    more = UPDATE - len(revised)
    name = f"pubmed26n{len(list(_files(size))) + 1:04d}.xml.gz"
    _file(output, name, template, [*range(size + 1, size + more + 1), *sorted(revised)], "New")
    figures = _updated(lake, output)
    kinds = ", ".join(f"{n:,} {k}" for k, n in opened(lake).counts.items() if k != "rows")
    new = [size for path, size in _held(lake).items() if path not in built]
    note = f"{kinds}; {len(new):,} files of {sum(new) >> 20:,} MiB written"
    yield _row(size, "update of 18,000 records", figures, note)
    say(f"updated: {figures}")
    surface = template["mentions"][0].as_py()[0]["text"]
    for question, (ours, theirs) in _queries(lake, output, surface).items():
        note = f"{theirs / ours:,.0f} times as fast as over OUT"
        yield _row(size, question, {"seconds": ours}, note)


def _row(size: int, what: str, figures: dict[str, float], note: str) -> Row:
    taken = {name: figures.get(name) for name in ("seconds", "CPU seconds", "MiB")}
    return {"documents": size, "what": what, **taken, "note": note}


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    rows: list[Row] = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows += _measure(size, Path(folder))
    settings = {
        "mentions": MENTIONS,
        "update": UPDATE,
        "revisions": REVISIONS,
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    write("lake", rows, packages=("deltalake", "duckdb", "pyarrow"), settings=settings)


if __name__ == "__main__":
    main()
