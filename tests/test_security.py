"""What a cluster listens on is what the documentation says, and secrets stay where they are."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from tests.conftest import SECRET_OF_API, SECRET_OF_AWS, Head
from tests.engine.served import Played
from tests.job.jobs import corpus

ROOT = Path(__file__).resolve().parents[1]


def documented() -> dict[str, re.Pattern[str]]:
    """The table of docs/operations.md: each process, and what its command line holds."""
    text = (ROOT / "docs/operations.md").read_text()
    section = text.partition("## What listens where")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| `([^`|]+)` \|", section, re.MULTILINE)
    return {name.strip(): re.compile(re.escape(shown)) for name, shown in rows}


def listening(root: psutil.Process) -> Iterator[tuple[str, str, int]]:
    """Command line, address and port of all that listens below a process, it included."""
    for process in [root, *root.children(recursive=True)]:
        try:
            line = " ".join(process.cmdline())
            sockets = process.net_connections(kind="inet")
        except psutil.Error:  # ended meanwhile
            continue
        for one in sockets:
            if one.status == psutil.CONN_LISTEN:
                yield line, one.laddr.ip, one.laddr.port


def check(found: list[tuple[str, str, int]]) -> set[str]:
    """See that all listen on localhost and are in the table; return which of it there were."""
    table = documented()
    seen = set()
    for line, address, port in found:
        assert address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"), (line, address, port)
        names = [name for name, shown in table.items() if shown.search(line)]
        assert names, f"not in docs/operations.md: {line} at {address}:{port}"
        seen.add(names[0])
    return seen


def test_a_head_listens_where_the_documentation_says(head):
    found = list(listening(psutil.Process(head.pid)))
    seen = check(found)
    assert {"GCS", "raylet", "dashboard and job submission"} <= seen
    ports = {port for _, _, port in found}
    assert int(head.metrics.rpartition(":")[2]) in ports
    assert int(head.environment["RAY_API_SERVER_ADDRESS"].rpartition(":")[2]) in ports


_CALLS = (
    "NodeInfoGcsService/GetAllNodeInfo",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Pull",
    "RayletDriver/KVGet",
    "ReporterService/GetTraceback",
    "CoreWorkerService/GetCoreWorkerStats",
)
"""A call of each of Ray's services: a process answers those of its own, if it lets one in."""


def answer(port: int) -> set[str]:
    """What a port says to a stranger: the status of HTTP, or the codes of gRPC."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/metrics")
        return {str(connection.getresponse().status)}
    except (OSError, http.client.HTTPException):
        pass  # not of HTTP 1
    finally:
        connection.close()
    codes = set()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for call in _CALLS:
            try:
                # Ray's client server asks for an id before it asks for a token.
                channel.unary_unary(f"/ray.rpc.{call}")(
                    b"", timeout=2, metadata=[("client_id", "stranger")]
                )
                codes.add("OK")
            except grpc.RpcError as error:
                codes.add(error.code().name)
    return codes


def test_a_stranger_gets_metrics_and_nothing_else(head):
    found = list(listening(psutil.Process(head.pid)))
    answers = {(line[:120], port): answer(port) for line, _, port in found}
    metrics = {int(head.metrics.rpartition(":")[2]), 44217, 44227}
    opened = {where: codes for where, codes in answers.items() if codes & {"200", "OK"}}
    assert {port for _, port in opened} <= metrics, opened
    refused = {port for (_, port), codes in answers.items() if codes & {"401", "UNAUTHENTICATED"}}
    assert {port for _, _, port in found} - metrics == refused, answers


@pytest.mark.alone
def test_a_job_of_its_own_cluster_listens_on_localhost_only(tmp_path):
    script = (
        "import sys\n"
        "from taiyi_ray.cluster import connected, engines\n"
        "from taiyi_ray.config import AnnotateConfig\n"
        "with connected(engines(AnnotateConfig(inputs=['in'], output='out', engine='fake'))):\n"
        "    import ray  # as the job does: what it reads when imported is set before\n"
        "    one = ray.remote(type('One', (), {'ready': lambda self: 1})).remote()\n"
        "    assert ray.get(one.ready.remote()) == 1\n"
        "    print('ready', file=sys.__stdout__, flush=True); sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdin and driver.stdout
        assert driver.stdout.readline() == "ready\n"
        found = list(listening(psutil.Process(driver.pid)))
        driver.stdin.write("\n")
        driver.stdin.flush()
    seen = check(found)
    assert {"GCS", "raylet"} <= seen
    assert "dashboard and job submission" not in seen


# ------------------------------------------------------------------------------------------ secrets


def holders(folder: Path, secret: str) -> list[str]:
    """The files below a folder that hold a text."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes()
    ]


@pytest.fixture
def server() -> Iterator[Played]:
    played = Played()
    played.key = SECRET_OF_API
    yield played
    played.stop()


def ray(head: Head, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ray", *map(str, arguments)],
        cwd=ROOT,
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_planted_secrets_are_in_no_log_and_no_file_and_nothing_that_ray_tells(
    head, server, tmp_path
):
    source, output = corpus(tmp_path / "docs.jsonl", 20, words=8), tmp_path / "out"
    submit = ("job", "submit", "--runtime-env", "jobs/runtime_env.yaml", "--")
    job = ("python", "jobs/annotate.py", source, "--output", output)
    asks = ("--engine", "http", "--url", server.url, "--tasks", "ner")
    done = ray(head, *submit, *job, *asks)
    assert done.returncode == 0, done.stdout
    assert server.asked, "the key reached the server"
    # Also when something goes wrong, and with what must not be given as an argument.
    server.key = "another one"
    failed = ray(head, *submit, *job, "--output", f"{output}-2", *asks)
    assert failed.returncode == 1, failed.stdout
    token = (Path(head.environment["HOME"]) / ".ray/auth_token").read_text()
    told = done.stdout + failed.stdout + ray(head, "job", "list").stdout
    for secret in (SECRET_OF_AWS, SECRET_OF_API, token):
        assert secret not in told
        assert holders(tmp_path, secret) == []
        assert holders(head.session, secret) == []
    assert holders(head.session, "jobs/annotate.py"), "the logs were looked at"


def test_a_secret_as_an_argument_ends_the_job_before_it_writes(tmp_path):
    source, output = corpus(tmp_path / "docs.jsonl", 5), tmp_path / "out"
    done = subprocess.run(
        [
            sys.executable, ROOT / "jobs/annotate.py", source, "--output", output,
            "--engine", "fake", "--engine-arg", "hf_token=hf_planted",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "hf_token looks like a secret" in done.stderr
    assert "hf_planted" not in done.stdout + done.stderr
    assert not output.exists()
