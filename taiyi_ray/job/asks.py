"""What a run asks of its sources: the same of all, or something of their own of some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taiyi_ray import models
from taiyi_ray.config import AnnotateConfig, ChatForm
from taiyi_ray.corpus.plan import Identity, Job, Plan
from taiyi_ray.corpus.source import Source
from taiyi_ray.corpus.units import Unit
from taiyi_ray.engine import Answering
from taiyi_ray.errors import ConfigError
from taiyi_ray.fingerprint import differences, fingerprint, identity
from taiyi_ray.tasks.task import Assignment


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked about the documents of some sources.

    Attributes:
        assignments: the tasks.
        identity: all that can change an answer, and its fingerprint, which goes into the rows.
    """

    assignments: Sequence[Assignment]
    identity: Identity


def known_to(job: Job, answering: Answering, chat: ChatForm) -> Answering:
    """Return what answers, by the identity that an output was begun with.

    At first a merged model was known by its files. An output of that time goes on with it, where
    the model was merged to the same bytes.

    Args:
        job: of the output.
        answering: what answers the questions.
        chat: the form of the prompts.
    """
    before = job.identity.get("model")
    if answering.model is None or before == answering.identity:
        return answering
    by_files = models.identity(models.by_files(answering.model), chat)
    return replace(answering, identity=by_files) if before == by_files else answering


class Asks:
    """What a run asks of each of its sources.

    Args:
        config: the settings of the run.
        answering: what answers the questions.
        assignments: the tasks for the documents of sources that have no assignments of their own.
        sources: the sources of the run.

    Attributes:
        of_run: what is asked of sources that have no assignments of their own.
    """

    def __init__(
        self,
        config: AnnotateConfig,
        answering: Answering,
        assignments: Sequence[Assignment],
        sources: Sequence[Source],
    ) -> None:
        def ask(tasks: Sequence[Assignment]) -> Ask:
            values = identity(config, tasks, answering.identity, config.columns)
            return Ask(tasks, Identity(fingerprint(values), values))

        self._config, self._sources = config, sources
        self.of_run = ask(assignments)
        self._own = {one.address: ask(one.assignments) for one in sources if one.assignments}

    @property
    def identities(self) -> dict[str, Identity]:
        """The identities of what is asked of single sources only, by the sources' addresses."""
        return {address: ask.identity for address, ask in self._own.items()}

    def check_same(self, job: Job, plan: Plan) -> None:
        """Check that nothing is asked otherwise than when it was planned.

        Raises:
            ConfigError: the output or a source was planned with other settings.
        """
        self._compare(self._config.output, job.identity, self.of_run)
        if not (self._own or plan.identities):
            return  # looking up each of many files takes time
        for source in self._sources:
            known, own = plan.known(source), self._own.get(source.address)
            if known is not None and (own or known.fingerprint):
                before = plan.identities.get(known.fingerprint, job.identity)
                self._compare(source.address, before, own or self.of_run)

    def _compare(self, address: str, before: dict[str, Any], now: Ask) -> None:
        changed = differences(before, now.identity.values, retry=self._config.retry_failed)
        if changed:
            raise ConfigError(
                f"{address}: belongs to a run with other settings ({'; '.join(changed)}); "
                "use the same settings or another --output"
            )

    @property
    def fingerprints(self) -> set[str]:
        """The fingerprints of all that is asked."""
        return {ask.identity.fingerprint for ask in [self.of_run, *self._own.values()]}

    def check_reusable(self) -> None:
        """Check that a text and a fingerprint decide all that is asked (`--reuse`).

        Raises:
            ConfigError: a task asks about annotations that the input gives.
        """
        for ask in [self.of_run, *self._own.values()]:
            for one in ask.assignments:
                if one.task.given and one.task.given(one.options):
                    raise ConfigError(
                        f"--reuse: {one.task.name} asks about annotations that the input gives, so "
                        "that the same text may be asked different things; leave --reuse out"
                    )

    def by_fingerprint(self, plan: Plan, pending: Iterable[Unit]) -> dict[str, Ask]:
        """Return what is asked of the pending units, by the fingerprints that the plan has.

        Raises:
            ConfigError: no source of this run says what to ask about a unit's documents.
        """
        asks = {"": self.of_run}
        for source in self._sources:
            if source.assignments and (known := plan.known(source)) is not None:
                asks[known.fingerprint] = self._own[source.address]
        for name in {unit.source for unit in pending}:
            planned = plan.sources[name]
            if planned.fingerprint not in asks:
                raise ConfigError(
                    f"{planned.path}: some of its units are left, and this run does not say what "
                    "to ask about its documents; name it among the inputs again"
                )
        return asks
