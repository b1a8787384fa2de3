"""Keeps Ray Serve's own server from listening on every address of the machine."""

from __future__ import annotations

import importlib
from typing import Any


def bind_to_node() -> None:
    """Let the replica of this process take requests of other replicas at its node's address only.

    Ray Serve 2.60 binds that server (gRPC, without authentication) to all addresses, and no setting
    says otherwise. The node's address is what the others call; on one machine it is 127.0.0.1. To
    be called in the constructor of a deployment: the server starts after it. Without Ray there is
    no such server.
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
