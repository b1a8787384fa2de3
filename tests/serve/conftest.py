"""One service with the real engine for all tests of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taiyi_ray import models
from tests.models.tiny import make_adapter
from tests.serve.live import SETTINGS, Live
from tests.serve.serving import server


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("adapters")
    base = models.resolve().path
    near = make_adapter(folder / "near", base)
    far = make_adapter(folder / "far", base)
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": s3_server,
    }
    import s3fs

    s3 = s3fs.S3FileSystem(
        key="testing", secret="testing", endpoint_url=s3_server, use_listings_cache=False
    )
    s3.makedirs("adapters")
    for file in far.iterdir():
        s3.pipe(f"adapters/far/{file.name}", file.read_bytes())
    arguments = ["--adapter", f"near={near}", "--adapter", "far=s3://adapters/far", *SETTINGS]
    arguments += ["--adapter", f"broken={folder / 'broken'}", "--batches", str(folder / "batches")]
    (folder / "broken").mkdir()
    (folder / "broken/adapter_config.json").write_text('{"r": 8}')
    log = folder / "log"
    with server(log, *arguments, VLLM_CPU_KVCACHE_SPACE="1", **environment) as (address, pid):
        found = Live(address, pid, log)
        with found.http, found.openai:
            yield found
    s3.rm("adapters", recursive=True)
    assert "Traceback" not in log.read_text()
