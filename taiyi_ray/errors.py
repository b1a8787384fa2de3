"""The errors of taiyi_ray, by what is at fault.

    TaiyiError
    ├── ConfigError         an option, an address or a name that the user must change
    ├── ModelError          a model, tokenizer or adapter that cannot be used
    ├── StorageError        an address that cannot be read or written
    │   └── StorageGone     a store that did not answer through many tries; the same command goes on
    ├── FormatError         one record of the input is broken (becomes a `failed` row)
    ├── QuestionError       the engine refused one question (becomes an error of its row)
    ├── EngineDied          the engine is gone; its actor ends and another one does the unit again
    ├── ServerGone          a server that answers questions is gone; the unit waits for another run
    └── Unfinished          the job ended before all was done; the same command goes on

The command line prints a TaiyiError as one line and exits with its `exit_code`. Every other
exception is a bug and keeps its traceback (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TaiyiError(Exception):
    """A fault that a user can act on: the message names the thing, its address and the way out."""

    exit_code = 2


class ConfigError(TaiyiError):
    """An option, an address or a name that the user must change."""


class ModelError(TaiyiError):
    """A model, tokenizer or adapter that cannot be used as asked."""


class StorageError(TaiyiError):
    """An address that cannot be read or written, or a store that lacks what the job needs."""


class StorageGone(StorageError):
    """A store that gave no answer, or only "later", in all tries: the work can wait."""

    exit_code = 4


class FormatError(TaiyiError):
    """One record of a source is broken; `kind` is the short name in the errors of its row."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class QuestionError(TaiyiError):
    """The engine refused or failed one question; it still answers others."""


class EngineDied(TaiyiError):
    """The engine process is gone: its actor can answer no further question."""


class ServerGone(TaiyiError):
    """A server of somebody else answers no question. No document is to blame: the work can wait."""


class Unfinished(TaiyiError):
    """The job ended before all units were done: the same command, run again, does the rest."""

    exit_code = 4


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name most like `name`, else an empty string."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
