"""The keys that let clients in.

A file holds their digests, their limits and their models:

    alice: {sha256: 9f86d081..., requests_a_minute: 600}
    bob: {sha256: 60303ae2..., models: [taiyi, "taiyi:ner"]}

A key is 256 random bits, so that nobody can find it by trying keys against its SHA-256. Slow hashes
are for passwords, which people choose.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import yaml
from filelock import FileLock
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError, TaiyiError
from taiyi_ray.serve.problems import Problem

_log = logging.getLogger(__name__)

_LOOK_AGAIN = 10.0
"""Seconds after which the file is read again: a key that was removed from it is refused from then
on."""

_PREFIX = "taiyi-"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    requests_a_minute: int = Field(600, ge=1)
    models: list[str] | None = None


_FILE = TypeAdapter(dict[str, _Entry])


@dataclass(frozen=True, slots=True)
class Caller:
    """The client of a request.

    Attributes:
        name: of its key.
        models: names of the models that the key is for; None for all.
    """

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
"""The client of every request to a service without keys."""


class Keys:
    """The keys of a file, or no keys at all.

    Each process counts a key's requests for itself, so that n engines accept n times as many.

    Args:
        address: path or s3:// address of the file; None lets everybody in.

    Raises:
        ConfigError: the file does not exist, or does not have this form.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._read = 0.0
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._entries = _entries(address) if address else {}

    async def caller(self, authorization: str | None) -> Caller:
        """Return the client whose key an Authorization header holds, and count the request.

        Raises:
            Problem: the key is missing or unknown (401), or has asked too often (429).
        """
        if self._address is None:
            return EVERYBODY
        await self._look_again(self._address)
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Problem(401, "a key is needed: send the header `Authorization: Bearer KEY`")
        name = self._named(key.strip())
        if name is None:
            raise Problem(401, "this key is unknown; ask the operator of this service for a key")
        await self._count(name, self._entries[name].requests_a_minute)
        return self._caller(name)

    async def of(self, name: str) -> Caller | None:
        """Return the client whose key has this name in the file now; None if it was removed."""
        if self._address is None:
            return Caller(name)
        await self._look_again(self._address)
        return self._caller(name) if name in self._entries else None

    def _caller(self, name: str) -> Caller:
        models = self._entries[name].models
        return Caller(name, None if models is None else frozenset(models))

    def _named(self, key: str) -> str | None:
        """Return the name of a key, None if it is unknown.

        The key is compared with every entry, each in constant time, so that the time of the answer
        tells nothing about the entries.
        """
        digest = hashlib.sha256(key.encode()).hexdigest()
        matching = None
        for name, entry in self._entries.items():
            if hmac.compare_digest(digest, entry.sha256):
                matching = name
        return matching

    async def _count(self, name: str, most: int) -> None:
        limit = RateLimitItemPerMinute(most)
        if not await self._limiter.hit(limit, name):
            window = await self._limiter.get_window_stats(limit, name)
            raise Problem(
                429,
                f"the key {name!r} has made the {most} requests that it may make in a minute",
                retry_after=window.reset_time - time.time(),
            )

    async def _look_again(self, address: str) -> None:
        now = time.monotonic()
        if now - self._read > _LOOK_AGAIN:
            self._read = now
            try:
                self._entries = await asyncio.to_thread(_entries, address)
            except TaiyiError as error:  # someone edits the file now, or the store does not answer
                _log.warning("going on with the keys read last: %s", error)


def _entries(address: str) -> dict[str, _Entry]:
    data = storage.read(storage.absolute(address))
    if data is None:
        raise ConfigError(f"--api-keys-file {address}: no such file; --new-key NAME makes it")
    return _parsed(data, address)


def _parsed(data: bytes, address: str) -> dict[str, _Entry]:
    try:
        return _FILE.validate_python(yaml.safe_load(data) or {})
    except (ValueError, yaml.YAMLError, RecursionError) as error:  # pydantic's is a ValueError
        raise ConfigError(
            f"--api-keys-file {address}: expected names with the digest of a key, as in "
            "`alice: {sha256: ...}`; --new-key NAME writes such an entry"
        ) from error


def add_key(address: str, name: str) -> str:
    """Make a key, add its digest to the file, and return the key, which is stored nowhere.

    The rest of the file stays as it is, comments too. When more than one process adds a key at the
    same time, all keys are in the file in the end. A new local file can be read by its owner alone.

    Args:
        address: path or s3:// address of the file.
        name: of the key.

    Raises:
        ConfigError: the file has that name already, is not a file of keys, or has a form to which
            no line can be added.
    """
    if not name.strip() or not name.isprintable():
        raise ConfigError(
            f"--new-key {name!r}: a name must have one or more characters, all of them printable"
        )
    address = storage.absolute(address)
    key = _PREFIX + secrets.token_urlsafe(32)
    entry = {name: {"sha256": hashlib.sha256(key.encode()).hexdigest()}}
    line = yaml.safe_dump(entry, allow_unicode=True).encode()
    with _alone(address):
        while not _added(address, name, line):
            pass  # another process changed the file meanwhile
    return key


def _alone(address: str) -> AbstractContextManager[object]:
    """Lock a local file against other processes; a remote store compares tags when it replaces."""
    if "://" in address:
        return nullcontext()
    path = Path(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))


def _added(address: str, name: str, line: bytes) -> bool:
    """Add an entry at the end of the file; return False when the file changed meanwhile."""
    if not storage.exists(address):
        return storage.put_if_absent(address, line, private=True)
    tag, data = storage.stat(address).tag, storage.read(address) or b""
    before = _parsed(data, address)
    if name in before:
        raise ConfigError(
            f"--new-key {name}: {address} already has a key of this name; remove that entry first"
        )
    after = data + (b"" if not data or data.endswith(b"\n") else b"\n") + line
    try:
        whole = _parsed(after, address) == before | _parsed(line, address)
    except ConfigError:
        whole = False
    if not whole:
        raise ConfigError(
            f"--new-key {name}: no entry can be added at the end of {address}; write each entry on "
            "a line of its own, as in `alice: {sha256: ...}`, in UTF-8"
        )
    return storage.replace(address, after, tag=tag)
