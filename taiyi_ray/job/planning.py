"""The plan of a run: what the output has planned already, and what the run adds to it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console

from taiyi_ray import cluster, models
from taiyi_ray.config import AnnotateConfig, EngineSettings, recorded
from taiyi_ray.corpus.plan import (
    Job,
    Part,
    Plan,
    Request,
    add_part,
    extend,
    load_job,
    load_plan,
    put_job,
)
from taiyi_ray.corpus.source import Scanned, Source
from taiyi_ray.job.asks import Asks
from taiyi_ray.job.output import JobOutput
from taiyi_ray.versions import versions

_SCAN_HERE = 64 << 20
"""An input up to this size is scanned in this process; a larger one on the cluster."""

Config = TypeVar("Config", bound=EngineSettings)


def going_on(config: Config, job: Job | None, console: Console) -> Config:
    """Return the settings with the shipped model that an output was begun with.

    What is the default model may change, and an output goes on with the model that its rows are of.
    So this counts where the user names no model; a line says so.

    Args:
        config: the settings of the run.
        job: of the output, if it was begun.
        console: where the line is printed.
    """
    begun = job.config.get("model") if job else None
    if "model" in config.model_fields_set or begun == config.model or begun not in models.SHIPPED:
        return config
    console.print(
        f"note: this output was begun with the model {begun} and goes on with it; the default is "
        f"{config.model} now (--model, for another output)"
    )
    return config.model_copy(update={"model": begun})


def planned(
    config: AnnotateConfig,
    output: JobOutput,
    asks: Asks,
    sources: Sequence[Source],
    *,
    write: bool,
) -> Plan:
    """Return the output's plan, after adding the sources and records that it does not have yet.

    Args:
        config: the settings of the run.
        output: whose plan it is.
        asks: what the run asks of its sources.
        sources: the sources of the run.
        write: whether to put the plan into the output.

    Raises:
        ConfigError: the output or a source belongs to a run with other settings, or a source
            changed.
    """
    while True:
        job = load_job(output.address)
        plan = load_plan(output.address, job) if job else Plan([])
        if job is not None:
            asks.check_same(job, plan)
        part = _extension(config, plan, asks, sources)
        if job is None:
            identity = asks.of_run.identity
            job = Job(
                fingerprint=identity.fingerprint,
                identity=identity.values,
                config=recorded(config),
                versions=versions(),
                part=part,
            )
            if not write or put_job(output.address, job):
                return Plan([part])
        elif not part.sources:
            return plan
        elif not write or add_part(output.address, len(plan.parts), part):
            return Plan([*plan.parts, part])
        # Another run put its part of the plan first: plan again what that part does not have.


def _extension(config: AnnotateConfig, plan: Plan, asks: Asks, sources: Sequence[Source]) -> Part:
    engines = config.engine_range[1]
    if sum(source.size for source in sources) <= _SCAN_HERE:
        return extend(plan, sources, config.limit, engines, _scan_here, asks.identities)
    from taiyi_ray.job import execution

    with cluster.connected(cluster.engines(config)):
        return extend(plan, sources, config.limit, engines, execution.scan, asks.identities)


def _scan_here(requests: Iterable[Request]) -> Iterator[Scanned]:
    return (source.record_sizes(first, most) for source, first, most in requests)


def print_plan(console: Console, config: AnnotateConfig, plan: Plan, output: JobOutput) -> None:
    """Print the settings as JSON to the standard output, and a line about the plan.

    Args:
        console: where the line is printed.
        config: the settings.
        plan: the plan.
        output: the output, of which the committed units are counted.
    """
    sys.stdout.write(config.model_dump_json(indent=1) + "\n")
    units = list(plan.units())
    there = output.committed()
    console.print(
        f"plan: {plan.records:,} documents of {len(plan.sources)} files in {len(units):,} units, "
        f"{sum(unit.name in there for unit in units):,} of them done; nothing was written"
    )
