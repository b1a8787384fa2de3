"""The errors of taiyi_ray: what a person can act on, and signals between our own parts.

    TaiyiError              a person can act on it; the command line prints it as one line
    ├── ConfigError         an option, an address or a name must be changed
    │   └── MissingOption   a task lacks an option that has no default
    ├── ModelError          a model, tokenizer or adapter cannot be used
    ├── StorageError        an address cannot be read or written
    │   └── StorageGone     a store did not answer in many tries; the same command goes on
    ├── ServerGone          a server answers no question; the same command goes on
    └── Unfinished          the work ended before all was done; the same command goes on

    Signal                  another part of this program always handles it
    ├── FormatError         one record of the input is broken; it becomes a `failed` row
    ├── QuestionError       the engine refused one question; this becomes an error of its row
    └── EngineDied          the engine is gone; another one answers its questions again

The command line exits with the `exit_code` of a TaiyiError. Every other exception is a bug, and it
keeps its traceback (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_CHANGE, EXIT_UNFINISHED = 2, 4
"""Exit codes: the user must change something, or run the same command again."""


class TaiyiError(Exception):
    """A fault that a person can act on: the message names the thing, its address and the way out.

    Attributes:
        exit_code: what the command line exits with.
    """

    exit_code = EXIT_CHANGE


class ConfigError(TaiyiError):
    """An option, an address or a name that the user must change."""


class MissingOption(ConfigError):
    """A task lacks options that have no default, and nothing else is wrong with it."""


class ModelError(TaiyiError):
    """A model, tokenizer or adapter that cannot be used as asked."""


class StorageError(TaiyiError):
    """An address that cannot be read or written, or a store that lacks what the job needs."""


class StorageGone(StorageError):
    """A store that gave no answer, or only "later", in all tries: the work can wait."""

    exit_code = EXIT_UNFINISHED


class ServerGone(TaiyiError):
    """A server of somebody else answers no question. No document is to blame: the work can wait."""

    exit_code = EXIT_UNFINISHED


class Unfinished(TaiyiError):
    """The work ended before all was done: the same command, run again, does the rest."""

    exit_code = EXIT_UNFINISHED


class Signal(Exception):
    """Tells another part of this program what happened; no person ever gets it."""


class FormatError(Signal):
    """One record of a source is broken.

    Args:
        kind: short name of the fault, as in the errors of the record's row.
        message: what a person reads about it.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class QuestionError(Signal):
    """The engine refused or failed one question; it still answers others."""


class EngineDied(Signal):
    """The engine process is gone: it can answer no further question."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name most like `name`, else an empty string.

    Capital letters do not count.
    """
    folded = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[found[0]]!r}?" if found else ""


def unknown(origin: str, kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error about a name that nothing has; it says the nearest name, or else all.

    Args:
        origin: the option with what was given to it.
        kind: what should have the name: `task`, `dataset`.
        name: the name.
        known: the names that there are.
    """
    known = list(known)
    hint = nearest(name, known) or f"; known: {', '.join(known)}"
    return ConfigError(f"{origin}: no {kind} is called {name!r}{hint}")


def amount(number: int, thing: str) -> str:
    """Return a number with what it counts, for a message: `1 file`, `2,000 files`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
