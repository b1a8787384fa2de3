"""The service on a cluster with a token: by a config file of Serve, or as a submitted job."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from taiyi_ray.config import ServeConfig
from taiyi_ray.errors import ConfigError
from taiyi_ray.serve.app import build
from taiyi_ray.serve.keys import add_key
from tests.conftest import Head, free_port
from tests.serve.serving import MIGRAINE
from tests.test_jobs import command, submit

# Ray Serve's own modules warn while they are imported.
pytestmark = pytest.mark.filterwarnings("default")

ROOT = Path(__file__).resolve().parents[2]
BODY = {"text": MIGRAINE, "tasks": ["ner"], "types": ["disease"]}


def config_file() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "deploy/serve_config.yaml").read_text()))


def test_the_config_file_holds_settings_of_the_service_and_of_serve():
    from ray.serve.schema import ServeDeploySchema

    values = config_file()
    ServeDeploySchema.model_validate(values)
    (application,) = values["applications"]
    config = ServeConfig(**application["args"])
    assert config.engine_range == (1, 8) and config.api_keys_file and config.batches


def test_a_deployed_service_wants_keys_or_a_word_that_it_does_not():
    with pytest.raises(ConfigError, match="give --api-keys-file, or --without-keys"):
        build({"engine": "fake"})
    for address in ({"host": "127.0.0.1"}, {"port": 8000}):
        with pytest.raises(ConfigError, match="only http_options says where Serve listens"):
            build({"engine": "fake", **address})
    with pytest.raises(ConfigError, match="unknown setting 'api_key_file'; did you mean"):
        build({"engine": "fake", "api_key_file": "x"})
    with pytest.raises(ConfigError, match="no such file; --new-key"):
        build({"engine": "fake", "api_keys_file": "/nowhere/keys.yaml"})


def wait_until(found: Any, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until
        time.sleep(0.3)


def ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def run(head: Head, line: str) -> str:
    environment = head.environment | {
        "RAY_DASHBOARD_ADDRESS": head.environment["RAY_API_SERVER_ADDRESS"]
    }
    done = subprocess.run(
        line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def port(head: Head) -> Iterator[int]:
    """A port for one service; Serve is gone from the cluster afterwards."""
    yield free_port()
    run(head, "serve shutdown --yes")


@pytest.mark.slow
def test_a_config_file_deploys_the_service_and_changes_it_while_it_answers(
    head, bucket, port, tmp_path
):
    key = add_key(f"{bucket}/keys.yaml", "alice")
    values = config_file()
    values["http_options"] = {"host": "127.0.0.1", "port": port}
    (application,) = values["applications"]
    application["args"] = {
        "engine": "fake",
        "engines": "1:2",
        "engine_args": {"latency": 0.05},
        "api_keys_file": f"{bucket}/keys.yaml",
        "batches": f"{bucket}/batches",
    }
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(values))
    run(head, f"serve deploy {file}")
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: ready(address))
    http = httpx.Client(base_url=address, headers={"authorization": f"Bearer {key}"}, timeout=60)
    with http:
        assert http.post("/v1/annotate", json=BODY).json()["model"] == "taiyi"
        assert httpx.post(f"{address}/v1/annotate", json=BODY).status_code == 401
        application["args"]["name"] = "other"
        file.write_text(yaml.safe_dump(values))
        run(head, f"serve deploy {file}")
        seen = []

        def changed() -> bool:
            answer = http.post("/v1/annotate", json=BODY)
            seen.append(answer.status_code)
            return bool(answer.json().get("model") == "other")

        wait_until(changed)
    assert set(seen) == {200}, "some were not answered while the service changed"


@pytest.mark.slow
def test_a_submitted_job_serves_until_it_is_stopped(head, bucket, port):
    key = add_key(f"{bucket}/keys.yaml", "alice")
    line = command(ROOT / "jobs/serve.py").replace("--host 0.0.0.0", f"--port {port}")
    line = line.replace("submit", "submit --no-wait --submission-id served")
    started = submit(head, f"{line} --engine fake --batches {bucket}/batches")
    assert started.returncode == 0, started.stdout
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: ready(address))
    header = {"authorization": f"Bearer {key}"}
    answer = httpx.post(f"{address}/v1/annotate", json=BODY, headers=header, timeout=60)
    assert answer.json()["rows"][0]["status"] == "ok"
    stopped = submit(head, "ray job stop served")
    assert "was stopped" in stopped.stdout
    assert "ready: http" in submit(head, "ray job logs served").stdout
    wait_until(lambda: not ready(address))


# Serve listens on all addresses before the service comes; `checked` is what it does then.
_ELSEWHERE = """
import sys
from ray import serve
from taiyi_ray.config import ServeConfig
from taiyi_ray.errors import ConfigError
from taiyi_ray.serve import app

port, batches = int(sys.argv[1]), sys.argv[2]
serve.start(http_options={"host": "0.0.0.0", "port": port})
config = ServeConfig(engine="fake", port=port, batches=batches)
try:
    app._start(config)
except ConfigError as error:
    print("refused:", error)
serve.run(app.application(config), name=app.APPLICATION, route_prefix="/")
"""


@pytest.mark.slow
def test_where_serve_listens_decides_whether_keys_are_wanted(head, bucket, port):
    """Refused where it is started; and started past that, what comes from elsewhere is refused."""
    line = f"python -c {shlex.quote(_ELSEWHERE)} {port} {bucket}/batches"
    done = submit(head, f"ray job submit --runtime-env jobs/runtime_env.yaml -- {line}")
    assert f"refused: --host 127.0.0.1 --port {port}: Ray Serve runs here" in done.stdout
    wait_until(lambda: ready(f"http://127.0.0.1:{port}"))
    assert httpx.post(f"http://127.0.0.1:{port}/v1/annotate", json=BODY).status_code == 200
    addresses = [
        address.address
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family is socket.AF_INET and not address.address.startswith("127.")
    ]
    for address in addresses:
        answer = httpx.post(
            f"http://{address}:{port}/v1/annotate", json=BODY, headers={"host": "localhost"}
        )
        assert answer.status_code == 403 and "without keys" in answer.json()["error"]["message"]


def test_a_port_that_is_taken_is_one_line():
    from taiyi_ray.serve.app import run as serve

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: Address already in use"):
            serve(ServeConfig(engine="fake", port=port))
