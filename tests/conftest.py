"""What several test modules share: one Ray cluster, one real engine, the shared data folder."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llguidance
import llguidance.hf
import psutil
import pytest
from hypothesis import HealthCheck, settings

from taiyi_ray import models
from taiyi_ray.job.output import JobOutput
from tests.faults import FaultyProxy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Some tests are drivers of Ray in this process. Ray reads when it is imported whether it may use
# the loopback address; the commands that tests start must set this themselves.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
importlib.import_module("ray")
del os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]

# Who is started in the background of a shell ignores interrupts, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# All processes that the tests start inherit this: `jobs.processes` sees these and no others.
os.environ["TAIYI_RAY_TESTS"] = str(os.getpid())

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


CLUSTERS = frozenset({"ray_cluster", "head"})
"""Fixtures that start Ray."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that want the machine for themselves, before any is chosen by its marks."""
    for item in items:
        names = CLUSTERS & set(getattr(item, "fixturenames", ()))
        if names or item.get_closest_marker("engine"):
            item.add_marker("alone")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real corpora that lie beside some checkouts."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real corpora is not here")
    return SHARED_DATA


def free_port() -> int:
    """A port of localhost that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cluster of its own on localhost; yields the environment of those who join it."""
    # Two heads would share the usual port of Ray's client, and its calls.
    port, client = _free_ports(2)
    environment = {
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on the loopback address only
        "RAY_process_group_cleanup_enabled": "1",
    }
    started = {k: v for k, v in environment.items() if k != "RAY_ADDRESS"}
    arguments = (
        "start --head --block --include-dashboard=false --disable-usage-stats --num-cpus 8 "
        f"--port {port} --ray-client-server-port {client} --object-store-memory 300000000"
    )
    log = tmp_path_factory.mktemp("ray") / "head.log"
    with _running(arguments, os.environ | started, log):
        yield environment


@pytest.fixture
def joined(ray_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of this test join the tests' cluster: it starts faster than one of their own."""
    for name, value in ray_cluster.items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True)
class Head:
    """A cluster as `ray start --head` makes it, with token authentication.

    Attributes:
        environment: of those who submit jobs to it.
        nodes: the environment of its nodes.
        address: where further nodes join it.
        metrics: the address where Prometheus asks.
        session: Ray's folder of logs and of what jobs brought along.
        pid: of `ray start`, whose children are all that listens.
    """

    environment: dict[str, str]
    nodes: dict[str, str]
    address: str
    metrics: str
    session: Path
    pid: int


SECRET_OF_AWS = "planted+AWS+secret+0123456789abcdef"
SECRET_OF_API = "planted-key-of-a-server-0123456789"


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> Iterator[Head]:
    """One head for the tests of submitted jobs, its bucket (s3://bucket) and secrets its own."""
    with running_head(tmp_path_factory.mktemp("head"), s3_server, cpus=8) as head:
        yield head


@contextmanager
def running_head(folder: Path, s3_server: str, *, cpus: int) -> Iterator[Head]:
    """Run a head whose nodes reach that S3."""
    home = folder / "home"
    home.mkdir()
    # The paths of Ray's sockets must be short.
    session = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    gcs, client, dashboard, agent, agent_grpc, metrics = _free_ports(6)
    environment = os.environ | {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "PYTHONUNBUFFERED": "1",
    }
    nodes = environment | {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET_OF_AWS,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": s3_server,
        "TAIYI_RAY_API_KEY": SECRET_OF_API,
    }
    for names in (environment, nodes):
        # Jobs bring the package along; a path of this machine would hide that.
        names.pop("PYTHONPATH", None)
    ray = Path(sys.executable).with_name("ray")
    subprocess.run(
        [ray, "get-auth-token", "--generate"], env=environment, check=True, capture_output=True
    )
    (home / ".ray/auth_token").chmod(0o600)
    arguments = (
        f"start --head --block --disable-usage-stats --num-cpus {cpus} --port {gcs} "
        f"--ray-client-server-port {client} "
        f"--dashboard-host 127.0.0.1 --dashboard-port {dashboard} "
        f"--dashboard-agent-listen-port {agent} --dashboard-agent-grpc-port {agent_grpc} "
        f"--metrics-export-port {metrics} --object-store-memory 300000000 --temp-dir {session}"
    )
    try:
        with _running(arguments, nodes, folder / "head.log") as process:
            # Ray takes 127.0.0.1 for this machine's address in its network, where no head is.
            yield Head(
                environment, nodes, f"0.0.0.0:{gcs}", f"http://127.0.0.1:{metrics}", session,
                process.pid,
            )  # fmt: skip
    finally:
        shutil.rmtree(session, ignore_errors=True)


@contextmanager
def running_node(head: Head, log: Path, *, cpus: int) -> Iterator[Callable[[], None]]:
    """Run one more node of a cluster; yield what kills it, as a machine that is gone."""
    agent, agent_grpc, metrics = _free_ports(3)
    arguments = (
        f"start --address {head.address} --node-ip-address 127.0.0.1 --block "
        f"--disable-usage-stats --num-cpus {cpus} "
        f"--dashboard-agent-listen-port {agent} --dashboard-agent-grpc-port {agent_grpc} "
        f"--metrics-export-port {metrics} --object-store-memory 200000000"
    )
    # With 0, which keeps the head on localhost, Ray lets no other node join.
    joining = head.nodes | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    with _running(arguments, joining, log) as process:
        yield lambda: _kill(process)


@contextmanager
def _running(
    arguments: str, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `ray start` with these arguments until the end."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), *arguments.split()],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield process
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of the embedded model, which is in the user's cache or comes there."""
    return models.load_tokenizer(models.resolve())


@pytest.fixture(scope="session")
def guidance(tokenizer: Any) -> Any:
    return llguidance.hf.from_tokenizer(tokenizer)


@pytest.fixture(scope="session")
def accepts(tokenizer: Any, guidance: Any) -> Callable[[str, str], bool]:
    """Tell whether a grammar lets a model write an answer and end it there."""

    def check(grammar: str, answer: str) -> bool:
        matcher = llguidance.LLMatcher(guidance, llguidance.grammar_from("lark", grammar))
        assert not matcher.is_error(), matcher.get_error()
        ids = tokenizer.encode(answer, add_special_tokens=False)
        if matcher.validate_tokens(ids) < len(ids):
            return False
        matcher.consume_tokens(ids)
        return bool(matcher.is_accepting())

    return check


_S3_SERVER = """
import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it never outlives the tests
from moto.server import main
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
"""


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 of moto's, a process of its own; yields its address."""
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "server.log"
    with log.open("w") as output:
        command = [sys.executable, "-c", _S3_SERVER, str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 60
        while "Running on" not in log.read_text():
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def faulty(s3_server: str) -> Iterator[FaultyProxy]:
    """A proxy before that S3, which breaks what a test tells it to."""
    with FaultyProxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket at s3://bucket, and the environment to reach it."""
    yield from _bucket(s3_server, s3_server, monkeypatch)


@pytest.fixture
def faulty_bucket(
    s3_server: str, faulty: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The same, reached through the proxy."""
    yield from _bucket(s3_server, faulty.address, monkeypatch)


def _bucket(server: str, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
    s3fs.S3FileSystem.clear_instance_cache()
    direct = s3fs.S3FileSystem(endpoint_url=server, use_listings_cache=False)
    direct.makedirs("bucket")
    yield "s3://bucket"
    direct.rm("bucket", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> JobOutput:
    """An empty output, on a disk and in a bucket."""
    if request.param == "s3":
        return JobOutput(f"{request.getfixturevalue('bucket')}/out")
    return JobOutput(str(tmp_path / "out"))


@pytest.fixture
def local(tmp_path: Path) -> JobOutput:
    """An empty output on a disk."""
    return JobOutput(str(tmp_path / "out"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; a module's own, as no other loop can run beside Playwright's."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium or google-chrome here")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield started
        started.close()
