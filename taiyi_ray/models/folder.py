"""Find the folder of a model (local, from S3, from the hub), and read its files.

A model is a folder in Hugging Face's layout. A model from S3 becomes such a folder in our cache,
once; the hub's own cache holds models of the hub. `shipped.py` finds those that need none of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

from taiyi_ray import cache, storage
from taiyi_ray.config import SHIPPED_MODELS
from taiyi_ray.errors import ModelError, StorageError, first_line, nearest
from taiyi_ray.models.trained import TRAINED_FILE

logger = logging.getLogger(__name__)

# The files of a folder that belong to the model and are fetched, hashed and copied. Model cards and
# pictures do not belong to it.
_FILES = (
    *("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py"),
    TRAINED_FILE,
)
# Old forms of weights. They are not fetched from the hub, because most models that have them there
# have safetensors, too.
_OLD_WEIGHTS = ("pytorch_model*.bin", "adapter_model.bin")


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is ready to load.

    Attributes:
        name: the name by which the user asked for it.
        path: its folder.
        digest: the digest of its files; of a merged model, of what was merged.
    """

    name: str
    path: Path
    digest: str


# ------------------------------------------------------------------------------ finding the folder


def find(name: str) -> Model:
    """Find a model in its place, fetching it into the cache where needed.

    Args:
        name: a local folder, an `s3://bucket/prefix` address, or a Hugging Face id `org/name`, with
            `@revision` or without.

    Raises:
        ModelError: when there is no such model.
        StorageError: when the cache or the bucket cannot be used.
    """
    folder = _model_folder(name)
    require(folder, "config.json", "a model in Hugging Face's layout")
    return Model(name, folder, digest_of(folder))


def _model_folder(name: str) -> Path:
    name = address_of(name)
    if name.startswith("s3://"):
        return fetch_s3(name)
    local = Path(name).expanduser()
    if local.is_dir():
        return local.absolute()
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(
            f"model {name}: no such folder{nearest(name, SHIPPED_MODELS)}; give "
            f"{', '.join(SHIPPED_MODELS)}, a folder, an s3:// address or a Hugging Face id "
            "(org/name)"
        )
    return _fetch_hub(name)


def address_of(name: str) -> str:
    """The address of a URL in its one spelling; a path or a hub id as it is."""
    return storage.absolute(name) if "://" in name else name


def put_folder(source: Path, folder: str) -> str:
    """Write the files of a local folder to another, local or s3://; return its address.

    Raises:
        StorageError: when a store cannot be written.
    """
    address = storage.absolute(folder)
    for file in sorted(source.iterdir()):
        with storage.written(storage.join(address, file.name)) as target, file.open("rb") as opened:
            shutil.copyfileobj(opened, target)
    return address


def fetch_s3(address: str) -> Path:
    """Fetch a model or an adapter from an s3:// address into the cache; return its folder.

    Raises:
        ModelError: no object there belongs to a model.
        StorageError: the bucket or the cache cannot be used.
    """
    prefix = f"{address}/"
    files = {stored.path.removeprefix(prefix): stored for stored in storage.walk(prefix)}
    files = {name: stored for name, stored in files.items() if matters(name)}
    if not files:
        raise ModelError(f"{address}: no model there (no object that belongs to one)")
    version = hashlib.sha256(address.encode())
    for name, stored in sorted(files.items()):
        version.update(f"\n{name} {stored.size} {stored.tag}".encode())

    def fetch(folder: Path) -> None:
        logger.info("fetching %s", address)
        for name, stored in files.items():
            with storage.open_read(stored.path) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 24)
                size = target.tell()
            if size != stored.size:
                raise StorageError(f"{stored.path}: was replaced while it was fetched; try again")

    return cache.made_once(cache.folder() / "s3" / version.hexdigest()[:32], fetch)


def _fetch_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, revision = name.partition("@")
    try:
        folder = snapshot_download(
            repository, revision=revision or None, allow_patterns=list(_FILES)
        )
    except GatedRepoError as error:
        raise ModelError(
            f"model {name}: Hugging Face wants its terms accepted; accept them on the model's page "
            "and set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"model {name}: neither a folder here nor known to Hugging Face; check the name "
            "(a private model wants HF_TOKEN)"
        ) from error
    except OSError as error:  # no network, HF_HUB_OFFLINE, a full disk
        raise ModelError(
            f"model {name}: neither a folder here nor in the local cache of Hugging Face, and "
            f"fetching it failed ({first_line(error)}); fetch it where there is a network "
            f"(hf download {repository}) and give the folder with --model"
        ) from error
    found = Path(folder)
    if not any(found.glob("*.safetensors")):
        raise ModelError(f"model {name}: has no *.safetensors; convert its weights to that format")
    return found


def matters(name: str) -> bool:
    """Whether a file of this name is part of a model."""
    return "/" not in name and any(fnmatch(name, p) for p in (*_FILES, *_OLD_WEIGHTS))


def digest_of(folder: Path) -> str:
    """The digest of a model's files.

    The cache keeps it for files whose paths, sizes and times are unchanged, because reading 20 GB
    takes a minute.
    """
    files = [p for p in sorted(folder.iterdir()) if matters(p.name) and p.is_file()]
    seen = [(str(p.absolute()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    name = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:32]

    def read(made: Path) -> None:
        digest = hashlib.sha256()
        for path in files:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name} {content}\n".encode())
        (made / "sha256").write_text(digest.hexdigest())

    return (cache.made_once(cache.folder() / "digests" / name, read) / "sha256").read_text()


def by_files(model: Model) -> Model:
    """Return a model with the digest of its files, by which a merged one was known at first."""
    return replace(model, digest=digest_of(model.path))


def tokenizer_digest(model: Model) -> str:
    """Return the digest of the files that decide a model's tokens: those without weights."""
    digest = hashlib.sha256()
    for path in sorted(model.path.iterdir()):
        if matters(path.name) and ("token" in path.name or path.suffix in (".jinja", ".model")):
            digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def require(folder: Path, name: str, what: str) -> None:
    """Raise ModelError when a folder lacks a file without which it is not `what`.

    Args:
        folder: the folder.
        name: the name of the file.
        what: what the folder should be, for the error.
    """
    if not (folder / name).is_file():
        raise ModelError(f"{folder}: has no {name}, so it is not {what}; give a folder that has it")


def context_length(model: Model) -> int:
    """Return the most tokens of a prompt and its answer together, as the model's config.json says.

    Raises:
        ModelError: when config.json does not say it.
    """
    config = settings(model, "config.json")
    names = ("max_position_embeddings", "seq_length", "n_positions", "model_max_length")
    for part in (config, config.get("text_config") or {}):
        for name in names:
            if isinstance(part.get(name), int):
                return cast(int, part[name])
    raise ModelError(
        f"{model.path / 'config.json'}: says no context length (none of {', '.join(names)})"
    )


def weights_size(model: Model) -> int:
    """Return the bytes of the model's weights."""
    return sum(file.stat().st_size for file in model.path.glob("*.safetensors"))


def is_quantised(model: Model) -> bool:
    """Return whether the model's weights were made smaller, by AWQ, GPTQ or the like."""
    return "quantization_config" in settings(model, "config.json")


def cache_size(model: Model, tokens: int) -> int:
    """Return the bytes of the keys and values (16 bits each) of a sequence of `tokens` tokens.

    The result is 0 when config.json lacks the numbers that this takes: layers, heads and the size
    of a head, under the names that Llama or ChatGLM use.
    """
    config = settings(model, "config.json")
    config = config.get("text_config") or config

    def first(*names: str) -> int:
        return next((config[name] for name in names if isinstance(config.get(name), int)), 0)

    layers, heads = first("num_hidden_layers", "num_layers"), first("num_attention_heads")
    groups = first("num_key_value_heads", "multi_query_group_num") or heads
    size = first("head_dim", "kv_channels") or (first("hidden_size") // heads if heads else 0)
    return 2 * 2 * layers * groups * size * tokens


def settings(model: Model, name: str) -> dict[str, Any]:
    """Return the content of a JSON file of the model's folder; empty when there is no such file."""
    path = model.path / name
    try:
        return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({first_line(error)})") from error
