"""What every process of the service does first: it sets its network address and its log."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from taiyi_ray.engine.start import NOT_STARTED


def prepare() -> None:
    """Prepare this process; the constructor of a deployment calls it.

    Raises:
        RuntimeError: Ray Serve would lose large answers.
    """
    import ray

    if ray.is_initialized():  # without Ray no other process sends requests to this one
        _check_messages()
        _bind_to_node()
    _log_with_serve()


_LARGE = 1 << 30
"""A size in bytes that no answer has."""


def _log_with_serve() -> None:
    """Send this package's log messages to the replica's log, where Ray Serve writes its own."""
    ours, serves = logging.getLogger("taiyi_ray"), logging.getLogger("ray.serve")
    ours.setLevel(logging.INFO)
    if serves.handlers:
        ours.handlers, ours.propagate = serves.handlers, False


def _check_messages() -> None:
    """Check that gRPC, where Serve uses it, drops no message because of its size.

    It would drop an answer after all the work, and the client would get an error.
    """
    constants: Any = importlib.import_module("ray.serve._private.constants")
    most = constants.RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH
    if constants.RAY_SERVE_USE_GRPC_BY_DEFAULT and 0 <= most < _LARGE:
        raise RuntimeError(
            f"{NOT_STARTED}: Ray Serve's messages have {most} bytes at most here; start the nodes "
            "with RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH=-1 (docs/service.md)"
        )


def _bind_to_node() -> None:
    """Let the replica of this process take requests of other processes at its node's address only.

    Ray Serve 2.60 binds the replica's server (gRPC, without authentication) to all addresses, and
    has no setting for it. Other nodes call the node's address; on one machine it is 127.0.0.1. The
    server starts after the constructor, so that the replaced function is used.
    """
    import ray

    replica: Any = importlib.import_module("ray.serve._private.replica")
    bind = replica.add_port_to_grpc_server
    address: str = ray.util.get_node_ip_address()
    host = f"[{address}]" if ":" in address else address

    def bind_here(server: Any, asked: str) -> Any:
        return bind(server, asked.replace("[::]", host))

    replica.add_port_to_grpc_server = bind_here
