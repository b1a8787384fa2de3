"""ray.serve.llm on this machine's CPU, to stand beside our service: serves until it is ended.

The engine's arguments and environment are the product's, the rest Ray's defaults.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.llm import LLMConfig, build_openai_app


def main(port: int, name: str, arguments: dict[str, Any]) -> None:
    """Start it on localhost and wait for SIGTERM."""
    ray.init(
        address="local",
        num_cpus=max(4, os.cpu_count() or 1),
        include_dashboard=False,
        object_store_memory=512 << 20,
    )
    config = LLMConfig(
        model_loading_config={"model_id": name, "model_source": arguments.pop("model")},
        placement_group_config={"bundles": [{"CPU": 1}]},
        accelerator_config={"kind": "cpu"},
        engine_kwargs=arguments,
        deployment_config={"num_replicas": 1, "ray_actor_options": {"num_cpus": 0.5}},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build_openai_app({"llm_configs": [config]}), blocking=False)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    # Before any thread is there: they would take the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
