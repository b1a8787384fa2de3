"""What an actor answers about a unit: that it is committed, with its counts, or why it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from taiyi_ray.errors import ConfigError, ServerGone, StorageError, StorageGone


class Fault(StrEnum):
    """Why a unit was not committed. It is never because of a document: that would be a row."""

    NONE = ""
    """The unit is committed."""
    NO_ENGINE = "no_engine"
    """The engine of the actor could not start; another one may."""
    ENGINE_REFUSED = "engine_refused"
    """It could not start, and the user must change something first."""
    STORE_GONE = "store_gone"
    """A store did not answer, that of the source or that of the output."""
    SERVER_GONE = "server_gone"
    """The server that answers questions is gone."""
    UNREADABLE = "unreadable"
    """The source or a setting cannot be used; the user must change something."""
    UNWRITABLE = "unwritable"
    """The output cannot be read or written; the user must change something."""
    BROKEN = "broken"
    """Something else of this machine failed."""

    @property
    def without_engine(self) -> bool:
        """Whether the actor has no engine."""
        return self in (Fault.NO_ENGINE, Fault.ENGINE_REFUSED)

    @property
    def may_pass(self) -> bool:
        """Whether the unit is worth another try as long as other units are committed."""
        return self.without_engine or self is Fault.STORE_GONE

    @property
    def to_be_changed(self) -> bool:
        """Whether the user must change something before the unit can be committed."""
        return self in (Fault.ENGINE_REFUSED, Fault.UNREADABLE, Fault.UNWRITABLE)


def fault_of_reading(error: Exception) -> Fault:
    """Return the kind of an error that came while a source was read."""
    return Fault.STORE_GONE if isinstance(error, StorageGone) else Fault.UNREADABLE


def fault_of_work(error: Exception) -> Fault:
    """Return the kind of an error that came while a unit was annotated and committed."""
    match error:
        case StorageGone():
            return Fault.STORE_GONE
        case StorageError():
            return Fault.UNWRITABLE
        case ServerGone():
            return Fault.SERVER_GONE
        case ConfigError():
            return Fault.UNREADABLE
    return Fault.BROKEN


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an actor answers about one unit.

    Attributes:
        unit: name of the unit.
        engine: host and process of the actor, which has one engine.
        ready: when the engine was ready, in seconds since 1970; 0 without an engine.
        made: when this receipt was made, in seconds since 1970.
        fault: why the unit is not committed, or NONE.
        error: what a person reads about the fault, in one line; empty without one.
        documents, failed, prompt_tokens, output_tokens: counts over the unit's documents and over
            the tokens of their answers; 0 with a fault.
        unreadable_answers: number of documents that were asked about, although `--reuse` knew of
            answers: the output that has them cannot be read.
    """

    unit: str
    engine: str
    ready: float
    made: float
    fault: Fault = Fault.NONE
    error: str = ""
    documents: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    unreadable_answers: int = 0

    def as_batch(self) -> dict[str, list[Any]]:
        """Return the receipt as the columns of a table of one row."""
        return {
            name: [value] for name, value in {**asdict(self), "fault": self.fault.value}.items()
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the receipt that a row of such a table holds."""
        return cls(**{**row, "fault": Fault(row["fault"])})
