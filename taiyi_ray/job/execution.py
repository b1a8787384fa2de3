"""Scans sources and executes pending units on the cluster, through Ray and Ray Data.

Ray is imported inside the functions, because it must see the environment that `cluster.connected`
sets.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from taiyi_ray import cluster, placement
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.plan import Request
from taiyi_ray.corpus.source import Scanned, Source
from taiyi_ray.corpus.sources import SOURCE_KINDS
from taiyi_ray.engine import ENGINES
from taiyi_ray.job.receipt import Receipt
from taiyi_ray.job.workers import AnnotateUnits, read_units

UNITS_OPEN = 2
"""Units that an engine works on at once, at least: while the last documents of one unit are
answered, those of the next keep the engine busy."""

_MOST_OPEN = 16
_DOCUMENTS_OPEN = 128
"""When units are small, an engine works on more of them at once (_MOST_OPEN at most), so that it
has about this many documents."""

_RETRIES = 3
"""How often a unit is tried again in one execution: enough to tell which document kills engines."""
_SCANS_IN_FLIGHT = 64
"""Ray tasks that scan sources at the same time, at most."""


def _record_sizes(source: Source, first: int, most: int | None) -> Scanned:
    return source.record_sizes(first, most)


def scan(requests: Iterable[Request]) -> Iterator[Scanned]:
    """Scan each source in a Ray task; yield the results in order.

    Raises:
        TaiyiError: a source cannot be scanned.
    """
    import ray

    task: Any = ray.remote(num_cpus=placement.SCAN_CPUS)(_record_sizes)
    waiting: list[Any] = []
    for request in requests:
        waiting.append(task.remote(*request))
        if len(waiting) >= _SCANS_IN_FLIGHT:
            yield cluster.result(waiting.pop(0))
    yield from map(cluster.result, waiting)


def execute(
    unit_rows: Sequence[dict[str, Any]],
    records: int,
    config: AnnotateConfig,
    constructor: tuple[Any, ...],
) -> Iterator[Receipt]:
    """Read, annotate and commit units; yield the receipt of each unit that an actor answered.

    The receipts do not tell reliably which units are committed: an actor may end after a commit and
    before its receipt is yielded. Only a listing of the output does.

    Args:
        unit_rows: rows of `workers.unit_row`; units of one source stand together.
        records: number of records in these units.
        config: the settings of the run.
        constructor: arguments of `AnnotateUnits`.
    """
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    context.max_errored_blocks = -1
    context.max_consecutive_actor_init_deaths = 2
    context.execution_no_progress_timeout_s = -1
    least, most = config.engine_range
    units_open = min(_MOST_OPEN, max(UNITS_OPEN, _DOCUMENTS_OPEN * len(unit_rows) // records))
    pool = ray.data.ActorPoolStrategy(
        min_size=least,
        max_size=most,
        max_concurrent_calls_per_actor=units_open,
        # As many units again wait at the actor; if both numbers were equal, the pool would never
        # grow.
        max_tasks_in_flight_per_actor=2 * units_open,
    )
    # A source is read once for all its units: a compressed file can only be read from the start.
    runs = [{"units": list(run)} for _, run in groupby(unit_rows, itemgetter("source"))]
    context.target_max_block_size = 1  # one row a block: an actor takes a unit at a time
    sources = ray.data.from_items(runs, override_num_blocks=len(runs))
    with warnings.catch_warnings():
        # Ray 2.60 deprecates max_restarts and max_task_retries, and offers nothing in their place.
        warnings.simplefilter("ignore", DeprecationWarning)
        pipeline = sources.flat_map(
            partial(read_units, kinds=SOURCE_KINDS),
            num_cpus=placement.READ_CPUS,
            compute=ray.data.TaskPoolStrategy(size=min(2 * most, len(runs))),
        ).map_batches(
            AnnotateUnits,
            fn_constructor_args=constructor,
            batch_size=1,
            batch_format="pyarrow",
            compute=pool,
            max_restarts=-1,
            max_task_retries=_RETRIES,
            **ENGINES[config.engine].resources(config).as_options(),
        )
    # Ray sets this level when a dataset is made, so it is set here and not before.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # With prefetching a receipt would wait here until the next one comes.
    receipts: Any = pipeline.iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=0
    )
    for batch in receipts:
        yield from map(Receipt.from_row, batch.to_pylist())
