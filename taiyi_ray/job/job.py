"""The corpus job: plan -> pending units -> read -> annotate and commit -> verify.

The job keeps its state in the output alone: the pending units are the planned ones minus a listing
of the output. Whatever process or machine dies, the same command continues from the output.

planning.py   what the output has planned, and what this run adds to it
asks.py       what is asked of which source
loop.py       pending units are executed until none is left
record.py     what the run counted, written every 30 seconds
verifier.py   the check of the whole output, its report and the exit code
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from taiyi_ray import storage
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus import reuse, sources
from taiyi_ray.corpus.plan import check_read_alike, load_job
from taiyi_ray.corpus.source import Source
from taiyi_ray.engine.prepare import prepare
from taiyi_ray.job.asks import Asks, known_to
from taiyi_ray.job.loop import Loop
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.planning import going_on, planned, print_plan
from taiyi_ray.job.record import RunRecord
from taiyi_ray.job.verifier import EXIT_DONE, exit_code, finish, verified
from taiyi_ray.tasks import assigned
from taiyi_ray.tasks.task import Assignment


def run(config: AnnotateConfig, *, dry_run: bool = False) -> int:
    """Annotate the files of a corpus; return the exit code (0: done, 3: too many failed).

    Args:
        config: the settings of the command.
        dry_run: only print the settings and the plan; nothing is written.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
        ServerGone, Unfinished: the job ended before all was done; the same command continues it.
        KeyboardInterrupt: Ctrl-C or SIGTERM interrupted it; the same command continues it.
    """
    # rich must not read brackets in a path as markup, nor break a long message into lines.
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    assignments, notes = assigned(config)
    for note in notes:
        console.print(f"note: {note}")
    config = config.model_copy(update={"tasks": [a.task.name for a in assignments]})
    corpus = sources.find(config.inputs, config.output)
    for note in corpus.notes():
        console.print(f"note: {note}")
    return run_sources(config, corpus.files, assignments, console, dry_run=dry_run)


def _check_reuse(address: str, asks: Asks, console: Console) -> None:
    """See that answers can be copied; say so if none will be.

    Raises:
        ConfigError: the address is neither a lake nor an output, or a text does not decide what is
            asked.
    """
    asks.check_reusable()
    if not asks.fingerprints & reuse.fingerprints(address):
        console.print(f"note: --reuse {address}: no answer there has the fingerprint of this run")


def run_sources(
    config: AnnotateConfig,
    given: Sequence[Source],
    assignments: Sequence[Assignment],
    console: Console,
    *,
    dry_run: bool = False,
) -> int:
    """Annotate the documents of sources of any kind; return the exit code as `run` does.

    Args:
        config: the settings of the run; its `inputs` and tasks are only recorded.
        given: the sources.
        assignments: the tasks for documents of sources that have no assignments of their own.
        console: where messages and progress are printed.
        dry_run: only print the settings and the plan; nothing is written.

    Raises:
        TaiyiError, KeyboardInterrupt: as for `run`.
    """
    output = JobOutput(config.output)
    if not dry_run:
        storage.probe(output.address)
    job = load_job(output.address)
    config = going_on(config, job, console)
    prepared = prepare(config, known=job is not None and not config.retry_failed)
    config, answering = prepared.config, prepared.answering
    if job is not None:
        answering = known_to(job, answering, config.chat)
    asks = Asks(config, answering, [a.in_form(prepared.form) for a in assignments], given)
    if config.reuse:
        address = storage.absolute(config.reuse)
        config = config.model_copy(update={"reuse": address})
        _check_reuse(address, asks, console)
    plan = planned(config, output, asks, given, write=not dry_run)
    if dry_run:
        print_plan(console, config, plan, output)
        return EXIT_DONE
    fingerprint = asks.of_run.identity.fingerprint
    record = RunRecord(config, output, answering.name, fingerprint, plan.records)
    loop = Loop(config, output, plan, record, console)
    pending = loop.pending()
    for name in {unit.source for unit in pending}:
        check_read_alike(plan.sources[name])
    if pending:
        asked = asks.by_fingerprint(plan, pending)
        loop.work(pending, (config, asked, answering.digest, record.run_id, answering.key))
    elif output.reported() == plan.records:
        totals, _ = verified(output, plan)
        console.print(f"nothing to do: all {plan.records:,} documents are in {config.output}")
        return exit_code(config, totals, console)
    return finish(config, output, plan, record, console)  # also if a run was killed at its end
