"""The Delta logs of a lake's tables: version n of a table holds the files of commit n.

The commits decide (`commits.py`); the logs are what other programs read, and follow them. A run
that ends between the two leaves logs that are behind, and the next run brings them on. A version
that no commit of ours made shows that another program wrote to the table.

The protocol: https://github.com/delta-io/delta/blob/master/PROTOCOL.md. What delta-rs does with it
was measured with 1.6.6: a stale `RemoveAction` is accepted, and the same app transaction is
accepted twice on fresh handles. So a table is opened once, its version and files are compared with
the commit before, and the version is written on the same handle without retries.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError
from taiyi_ray.lake import commits
from taiyi_ray.lake.commits import Commit
from taiyi_ray.lake.tables import TABLES, Table

T = TypeVar("T")

_APPLICATION = "taiyi_ray.lake"
"""This program's name among a table's app transactions, whose version is the commit's number."""

_STATISTICS = frozenset({"pmid", "document_id", "position", "type", "committed_in", "run_id"})
"""The columns whose least and greatest values Delta keeps of each file."""


def options(lake: str) -> dict[str, str] | None:
    """What delta-rs needs to reach a store: its credentials are not botocore's.

    They are asked for anew for each operation, because those of a role expire.
    """
    if storage.is_local(lake):
        return None
    from botocore.session import get_session  # slow to import

    session = get_session()
    found = {}
    credentials = session.get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        found = {
            "AWS_ACCESS_KEY_ID": frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
            "AWS_SESSION_TOKEN": frozen.token,
        }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    found |= {"AWS_REGION": session.get_config_variable("region"), "AWS_ENDPOINT_URL": endpoint}
    if endpoint and endpoint.startswith("http://"):
        found["AWS_ALLOW_HTTP"] = "true"
    return {name: value for name, value in found.items() if value}


def check_address(lake: str) -> None:
    """See that delta-rs can keep a log there.

    Raises:
        ConfigError: the address has what delta-rs 1.6.6 takes for the code of another character: it
            writes there and looks elsewhere.
    """
    if code := re.search("%[0-9a-fA-F]{2}", lake):
        raise ConfigError(f"{lake}: a table cannot have {code[0]} in its name; choose another")


def follow(lake: str, upto: Commit) -> None:
    """Bring the log of every table to a commit; those that are there already stay.

    Raises:
        ConfigError: another program wrote to a table.
    """
    known = {upto.number: upto}
    _each(lambda table: _follow(lake, table, upto, known))


def check(lake: str, newest: Commit) -> dict[str, int | None]:
    """See that no other program wrote to a table.

    Returns:
        The version of each table's log; None where a table has none.

    Raises:
        ConfigError: one did.
    """
    known = {newest.number: newest}

    def one(table: Table) -> int | None:
        handle = _opened(lake, table)
        if handle is None:
            return None
        _check(lake, table, handle, known)
        return handle.version()

    return _each(one)


def _each(act: Callable[[Table], T]) -> dict[str, T]:
    """Do the same for all tables at once: most of the time goes by waiting for the store."""
    with ThreadPoolExecutor(len(TABLES)) as pool:
        return dict(zip(TABLES, pool.map(act, TABLES.values()), strict=True))


def _address(lake: str, table: Table) -> str:
    return storage.join(lake, table.name)


def _opened(lake: str, table: Table) -> DeltaTable | None:
    address = _address(lake, table)
    try:
        return DeltaTable(address, storage_options=options(lake))
    except TableNotFoundError:
        return None
    except DeltaError as error:
        raise ConfigError(_foreign(lake, address, f"its log cannot be read ({error})")) from error


def _foreign(lake: str, address: str, what: str) -> str:
    return (
        f"{address}: {what}; `taiyi-ray lake rebuild {lake}` makes the log anew from the lake's "
        "own commits"
    )


def _check(lake: str, table: Table, handle: DeltaTable, known: dict[int, Commit]) -> None:
    """See that a table's newest version is one of ours, with the files of its commit."""
    address, version = _address(lake, table), handle.version()
    if version != (handle.transaction_version(_APPLICATION) or 0):
        (last, *_) = handle.history(1)
        what = last.get("operation", "unknown")
        raise ConfigError(
            _foreign(lake, address, f"another program wrote version {version} ({what})")
        )
    if set(_paths(handle)) != set(_commit(lake, version, known).files.get(table.name, {})):
        raise ConfigError(_foreign(lake, address, f"version {version} has other files than ours"))


def _paths(handle: DeltaTable) -> list[str]:
    return [str(path) for path in pa.table(handle.get_add_actions())["path"].to_pylist()]


def _commit(lake: str, number: int, known: dict[int, Commit]) -> Commit:
    if number not in known:
        known[number] = commits.read(lake, number)
    return known[number]


def _follow(lake: str, table: Table, upto: Commit, known: dict[int, Commit]) -> None:
    handle = _opened(lake, table) or _made(lake, table)
    while handle.version() < upto.number:
        version = handle.version()
        _check(lake, table, handle, known)
        before = _commit(lake, version, known).files.get(table.name, {})
        after = _commit(lake, version + 1, known).files.get(table.name, {})
        at = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            *(
                AddAction(path, file.size, {}, at, True, file.stats)
                for path, file in after.items()
                if path not in before
            ),
            *(
                RemoveAction(path, True, at, file.size, {})
                for path, file in before.items()
                if path not in after
            ),
        ]
        try:
            handle.create_write_transaction(
                actions,
                mode="append",
                schema=table.schema,
                commit_properties=CommitProperties(
                    custom_metadata={_APPLICATION: version + 1},
                    max_commit_retries=0,
                    app_transactions=[Transaction(_APPLICATION, version + 1)],
                ),
                post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
            )
        except CommitFailedError:
            # Another writer brought the same version; what it is will be checked above.
            again = _opened(lake, table)
            assert again is not None
            if again.version() <= version:
                raise
            handle = again
            continue
        handle.update_incremental()
        assert handle.version() > version
    _check(lake, table, handle, known)


def _made(lake: str, table: Table) -> DeltaTable:
    try:
        return DeltaTable.create(
            _address(lake, table),
            Schema.from_arrow(table.schema),
            name=table.name,
            description=table.comment,
            configuration={"delta.enableExpiredLogCleanup": "false"},
            storage_options=options(lake),
        )
    except DeltaError:
        handle = _opened(lake, table)
        if handle is None:
            raise
        return handle  # another writer made it meanwhile


def statistics(metadata: pq.FileMetaData) -> str:
    """What Delta keeps of a data file, as JSON: rows, and the bounds of the columns in front.

    Args:
        metadata: of the Parquet file.
    """
    least: dict[str, object] = {}
    greatest: dict[str, object] = {}
    nulls: dict[str, int] = {}
    unbounded: set[str] = set()
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            column = row_group.column(number)
            name = column.path_in_schema
            if name not in _STATISTICS or column.statistics is None:
                continue
            found = column.statistics
            nulls[name] = nulls.get(name, 0) + found.null_count
            if found.has_min_max:
                least[name] = min(least.get(name, found.min), found.min)
                greatest[name] = max(greatest.get(name, found.max), found.max)
            elif found.null_count < row_group.num_rows:
                unbounded.add(name)  # Parquet keeps no bounds of very long values
    return json.dumps(
        {
            "numRecords": metadata.num_rows,
            "minValues": {name: least[name] for name in least if name not in unbounded},
            "maxValues": {name: greatest[name] for name in greatest if name not in unbounded},
            "nullCount": nulls,
        },
        ensure_ascii=False,
    )
