"""The end of a run: the output is verified, reported, and judged by an exit code."""

from __future__ import annotations

from rich.console import Console

from taiyi_ray import storage
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.output import Totals, UnitFile, verify
from taiyi_ray.corpus.plan import Plan
from taiyi_ray.errors import StorageError
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.progress import summary
from taiyi_ray.job.record import RunRecord
from taiyi_ray.job.report import sample_rows, write_report

EXIT_DONE, EXIT_TOO_MANY_FAILED = 0, 3


def verified(output: JobOutput, plan: Plan) -> tuple[Totals, list[UnitFile]]:
    """Check that every planned unit holds its records; return the totals and the unit files.

    Raises:
        StorageError: a unit is missing, or does not hold exactly its planned records.
    """
    totals, files, wrong = verify(output, plan.units())
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise StorageError(f"{wrong[0]}{more}; delete it and run the same command again")
    return totals, files


def finish(
    config: AnnotateConfig, output: JobOutput, plan: Plan, record: RunRecord, console: Console
) -> int:
    """Verify the output, write run.json and the report, and print the summary.

    Args:
        config: the settings of the run.
        output: the output, in which no planned unit is pending.
        plan: the plan of the output.
        record: the record of the run.
        console: where the summary is printed.

    Returns:
        The exit code.

    Raises:
        StorageError: as for `verified`, or something cannot be written.
    """
    totals, files = verified(output, plan)
    run = record.write("complete", totals)
    output.write_report(write_report(sample_rows(files, storage.read_with), totals.as_dict(), run))
    console.print(summary(totals, run))
    console.print(
        f"{config.output}/annotations, {config.output}/run.json, {config.output}/report.html"
    )
    return exit_code(config, totals, console)


def exit_code(config: AnnotateConfig, totals: Totals, console: Console) -> int:
    """Return 0, or 3 when a larger share of documents failed than --max-failed accepts.

    Args:
        config: the settings of the run.
        totals: counts over the whole output.
        console: where the reason of a 3 is printed.
    """
    share = totals.documents["failed"] / max(1, totals.documents.total())
    if share <= config.max_failed:
        return EXIT_DONE
    console.print(
        f"{share:.1%} of the documents failed, more than --max-failed {config.max_failed:g}; "
        f"see {config.output}/report.html, then try --retry-failed"
    )
    return EXIT_TOO_MANY_FAILED
