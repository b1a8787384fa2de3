"""The errors of taiyi_ray, by whose fault it is.

    TaiyiError
    ├── ConfigError         an option, a path or a name that the user must change
    ├── ModelError          a model, tokenizer or adapter that cannot be used
    ├── StorageError        a place that cannot be read or written
    │   └── StorageGone     for the moment: it was tried again for a while; the same command goes on
    ├── FormatError         one record of the input is broken (becomes a `failed` row)
    ├── QuestionError       the engine refused one question (becomes an error of its row)
    ├── EngineDied          the engine is gone; its actor ends and the unit is done again
    ├── ServerGone          the server of an engine answers nothing; its unit waits for another run
    └── Unfinished          the job ended before all was done; the same command goes on

The command line prints a TaiyiError as one line and exits with its `exit_code`; every other
exception is a bug and keeps its traceback (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TaiyiError(Exception):
    """Something that a user can act on: the message names the thing, the place and the way out."""

    exit_code = 2


class ConfigError(TaiyiError):
    """An option, a path or a name that the user must change."""


class ModelError(TaiyiError):
    """A model, tokenizer or adapter that cannot be used as asked."""


class StorageError(TaiyiError):
    """A place that cannot be read or written, or that lacks what the job needs."""


class StorageGone(StorageError):
    """A place that answered nothing, or "later", however often it was asked: all can wait."""

    exit_code = 4


class FormatError(TaiyiError):
    """One record of a source is broken; `kind` is the short name that the row's error carries."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class QuestionError(TaiyiError):
    """The engine refused or failed one question; the others go on."""


class EngineDied(TaiyiError):
    """The engine process is gone: no further question can be answered by this actor."""


class ServerGone(TaiyiError):
    """A server that is not ours answers no question: no document is to blame, all can wait."""


class Unfinished(TaiyiError):
    """The job ended with units left over: running the same command again goes on."""

    exit_code = 4


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name most like `name`, else an empty string."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
