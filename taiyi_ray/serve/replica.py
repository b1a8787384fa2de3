"""What every process of the service does first: where it listens, and where it logs."""

from __future__ import annotations

import importlib
import logging
from typing import Any


def prepare() -> None:
    """Prepare this process; to be called in the constructor of a deployment."""
    _bind_to_node()
    _log_with_serve()


def _log_with_serve() -> None:
    """Write what is logged here into the log of the replica, as Ray Serve writes its own."""
    ours, serves = logging.getLogger("taiyi_ray"), logging.getLogger("ray.serve")
    ours.setLevel(logging.INFO)
    if serves.handlers:
        ours.handlers, ours.propagate = serves.handlers, False


def _bind_to_node() -> None:
    """Let the replica of this process take requests of other replicas at its node's address only.

    Ray Serve 2.60 binds that server (gRPC, without authentication) to all addresses, and no setting
    says otherwise. The node's address is what the others call; on one machine it is 127.0.0.1. The
    server starts after the constructor. Without Ray there is no such server.
    """
    import ray

    if not ray.is_initialized():
        return
    replica: Any = importlib.import_module("ray.serve._private.replica")
    bind = replica.add_port_to_grpc_server
    address: str = ray.util.get_node_ip_address()
    host = f"[{address}]" if ":" in address else address

    def bind_here(server: Any, asked: str) -> Any:
        return bind(server, asked.replace("[::]", host))

    replica.add_port_to_grpc_server = bind_here
