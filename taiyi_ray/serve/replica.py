"""What every process of the service does first: how it is reached, and where it logs."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from taiyi_ray.engine.start import NOT_STARTED


def prepare() -> None:
    """Prepare this process; to be called in the constructor of a deployment.

    Raises:
        RuntimeError: large answers would be lost.
    """
    import ray

    if ray.is_initialized():  # else nothing else asks this process
        _check_messages()
        _bind_to_node()
    _log_with_serve()


_LARGE = 1 << 30
"""Bytes that no answer has."""


def _log_with_serve() -> None:
    """Write what is logged here into the log of the replica, as Ray Serve writes its own."""
    ours, serves = logging.getLogger("taiyi_ray"), logging.getLogger("ray.serve")
    ours.setLevel(logging.INFO)
    if serves.handlers:
        ours.handlers, ours.propagate = serves.handlers, False


def _check_messages() -> None:
    """See that gRPC, where Serve uses it, drops no message for its size.

    It would drop an answer when all is done, and the client would be told of an error.
    """
    constants: Any = importlib.import_module("ray.serve._private.constants")
    most = constants.RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH
    if constants.RAY_SERVE_USE_GRPC_BY_DEFAULT and 0 <= most < _LARGE:
        raise RuntimeError(
            f"{NOT_STARTED}: Ray Serve's messages have {most} bytes at most here; start the nodes "
            "with RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH=-1 (docs/service.md)"
        )


def _bind_to_node() -> None:
    """Let the replica of this process take requests of other replicas at its node's address only.

    Ray Serve 2.60 binds that server (gRPC, without authentication) to all addresses, and no setting
    says otherwise. The node's address is what the others call; on one machine it is 127.0.0.1. The
    server starts after the constructor.
    """
    import ray

    replica: Any = importlib.import_module("ray.serve._private.replica")
    bind = replica.add_port_to_grpc_server
    address: str = ray.util.get_node_ip_address()
    host = f"[{address}]" if ":" in address else address

    def bind_here(server: Any, asked: str) -> Any:
        return bind(server, asked.replace("[::]", host))

    replica.add_port_to_grpc_server = bind_here
