"""Who is let in: keys, of which the file holds digests only, and how often each may ask.

    alice: {sha256: 9f86d081..., requests_a_minute: 600}
    bob: {sha256: 60303ae2..., models: [taiyi, "taiyi:ner"]}

A key is 256 random bits: a plain SHA-256 of it can be neither guessed nor reversed, which is what
slow password hashes are for.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from dataclasses import dataclass

import yaml
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError, TaiyiError
from taiyi_ray.serve.problems import Problem

_log = logging.getLogger(__name__)

_LOOK_AGAIN = 10.0
"""Seconds after which the file is read again: a key that is taken out is locked out by then."""

_PREFIX = "taiyi-"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    requests_a_minute: int = Field(600, ge=1)
    models: list[str] | None = None


_FILE = TypeAdapter(dict[str, _Entry])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name of the key, and what it may ask for (None: every model)."""

    name: str
    models: frozenset[str] | None = None

    def check_model(self, model: str) -> None:
        """Refuse a model that the key is not for; raises Problem (403)."""
        if self.models is not None and model not in self.models:
            raise Problem(
                403,
                f"the key {self.name!r} is not for the model {model!r}; "
                f"it is for {', '.join(sorted(self.models))}",
                param="model",
            )


EVERYBODY = Caller("everybody")
"""Where no keys are asked for."""


class Keys:
    """The keys of a file, or none at all.

    The limit of a key counts in this process: n engines let n times as many requests through.

    Args:
        place: path or s3:// address of the file; None lets everybody in.

    Raises:
        ConfigError: the file is not there, or not of this form.
    """

    def __init__(self, place: str | None) -> None:
        self._place = place
        self._read = 0.0
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._entries = _entries(place) if place else {}

    async def caller(self, authorization: str | None) -> Caller:
        """The one whose key an Authorization header holds.

        Raises:
            Problem: no key or an unknown one (401), or one that asked too often (429).
        """
        if self._place is None:
            return EVERYBODY
        await self._look_again(self._place)
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Problem(401, "a key is needed: send the header `Authorization: Bearer KEY`")
        name = self._named(key.strip())
        if name is None:
            raise Problem(401, "this key is not known here; ask whoever runs the service for one")
        entry = self._entries[name]
        await self._count(name, entry.requests_a_minute)
        return Caller(name, None if entry.models is None else frozenset(entry.models))

    def _named(self, key: str) -> str | None:
        """The name of a key; all are compared, each in constant time."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        found = None
        for name, entry in self._entries.items():
            if hmac.compare_digest(digest, entry.sha256):
                found = name
        return found

    async def _count(self, name: str, most: int) -> None:
        limit = RateLimitItemPerMinute(most)
        if not await self._limiter.hit(limit, name):
            window = await self._limiter.get_window_stats(limit, name)
            raise Problem(
                429,
                f"the key {name!r} may ask {most} times a minute, and did",
                retry_after=window.reset_time - time.time(),
            )

    async def _look_again(self, place: str) -> None:
        now = time.monotonic()
        if now - self._read > _LOOK_AGAIN:
            self._read = now
            try:
                self._entries = await asyncio.to_thread(_entries, place)
            except TaiyiError as error:  # half an edit, or a store that is away
                _log.warning("going on with the keys read last: %s", error)


def _entries(place: str) -> dict[str, _Entry]:
    data = storage.read(storage.absolute(place))
    if data is None:
        raise ConfigError(f"--api-keys-file {place}: no such file; --new-key NAME makes it")
    try:
        return _FILE.validate_python(yaml.safe_load(data) or {})
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--api-keys-file {place}: expected names with the digest of a key, as in "
            "`alice: {sha256: ...}`; --new-key NAME writes such an entry"
        ) from error


def add_key(place: str, name: str) -> str:
    """Make a key, put its digest into the file, and return the key: it is nowhere else.

    Raises:
        ConfigError: the file has that name already, or is no such file.
    """
    place = storage.absolute(place)
    data = storage.read(place) or b""
    if data and name in _entries(place):
        raise ConfigError(f"--new-key {name}: {place} has it already; take it out first")
    key = _PREFIX + secrets.token_urlsafe(32)
    entry = {name: {"sha256": hashlib.sha256(key.encode()).hexdigest()}}
    if data and not data.endswith(b"\n"):
        data += b"\n"
    storage.replace(place, data + yaml.safe_dump(entry, allow_unicode=True).encode())
    return key
