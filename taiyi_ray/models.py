"""Which model: its folder and digest, an adapter merged into it, its tokenizer and chat form.

A model is a folder as Hugging Face lays it out. What is not such a folder yet (the embedded
default, an s3:// address, a hub id, a model with an adapter) becomes one, once, in the cache:
the user's cache folder, or the one that the environment variable TAIYI_RAY_CACHE names.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import platformdirs
from filelock import FileLock

from taiyi_ray import embedded_model, storage
from taiyi_ray.config import EMBEDDED_MODEL
from taiyi_ray.errors import ConfigError, ModelError, StorageError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

EMBEDDED = EMBEDDED_MODEL

_DEFAULT_CONTEXT = 4096

ChatForm = Literal["template", "taiyi1"]
Message = Mapping[str, str]

# What of a folder is the model and gets fetched, hashed and copied; cards and pictures are not.
_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py")
# Of the hub's models that have these, most have safetensors too: not fetched from there.
_OLD_WEIGHTS = ("pytorch_model*.bin", "adapter_model.bin")

THINKING = "enable_thinking"
"""What a chat template reads that can have its model think before it answers, or not."""

_TAIYI1_SEPARATOR = "<|endoftext|>"  # begins, separates and ends the turns


@dataclass(frozen=True, slots=True)
class Model:
    """A model ready to load: the name asked for, its folder, and a digest of its content."""

    name: str
    path: Path
    digest: str


# ------------------------------------------------------------------------------ finding the folder


def resolve(name: str = EMBEDDED, adapter: str | None = None, digest: str | None = None) -> Model:
    """Find a model, fetching it into the cache where needed, and merge an adapter into it.

    Args:
        name: EMBEDDED, a local folder, an `s3://bucket/prefix` address, or a Hugging Face id
            `org/name`, with `@revision` or without.
        adapter: a LoRA folder, local or `s3://`.
        digest: what it must be, where each node finds the model itself.

    Raises:
        ModelError: when there is no such model or adapter, the two do not fit, or it is another.
        StorageError: when the cache or the bucket cannot be used.
    """
    folder = _model_folder(name)
    _require(folder, "config.json", "a model in Hugging Face's layout")
    model = Model(name, folder, _digest(folder))
    if adapter:
        model = merge_adapter(model, adapter)
    if digest is not None and model.digest != digest:
        raise ModelError(
            f"{model.path}: is another model here than where the job was started; give the same "
            "files to all nodes, or an s3:// address to all"
        )
    return model


def _model_folder(name: str) -> Path:
    if name == EMBEDDED:
        return _made_once(cache_folder() / EMBEDDED, _write_embedded)
    name = _address(name)
    if name.startswith("s3://"):
        return _fetch_s3(name)
    local = Path(name).expanduser()
    if local.is_dir():
        return local.absolute()
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(
            f"model {name}: no such folder{nearest(name, [EMBEDDED])}; give {EMBEDDED}, a folder, "
            "an s3:// address or a Hugging Face id (org/name)"
        )
    return _fetch_hub(name)


def _write_embedded(folder: Path) -> None:
    logger.info("making %s, once: a download of 93 MB and about half a minute", EMBEDDED)
    embedded_model.write(folder)


def _address(name: str) -> str:
    """The one address of what a URL names; anything else (a path, a hub id) as it is."""
    return storage.absolute(name) if "://" in name else name


def _fetch_s3(address: str) -> Path:
    prefix = f"{address}/"
    files = {stored.path.removeprefix(prefix): stored for stored in storage.walk(prefix)}
    files = {name: stored for name, stored in files.items() if _matters(name)}
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

    return _made_once(cache_folder() / "s3" / version.hexdigest()[:32], fetch)


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
            f"fetching it failed ({_first_line(error)}); fetch it where there is a network "
            f"(hf download {repository}) and give the folder with --model"
        ) from error
    found = Path(folder)
    if not any(found.glob("*.safetensors")):
        raise ModelError(f"model {name}: has no *.safetensors; convert its weights to that format")
    return found


# ------------------------------------------------------------------------------------------- cache


def cache_folder() -> Path:
    """Return the folder for what is made once: TAIYI_RAY_CACHE, else in the user's cache."""
    named = os.environ.get("TAIYI_RAY_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("taiyi_ray")


def _made_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return `folder`, filled at the first call.

    It comes into being whole, by a rename. Of the processes of a machine that want it at once, one
    fills it and the others wait: eight engines are one download.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock(folder)):
            if not folder.is_dir():
                _make(folder, fill)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be made ({_first_line(error)}); TAIYI_RAY_CACHE names another place"
        ) from error
    return folder


def _lock(folder: Path) -> Path:
    locks = cache_folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return locks / hashlib.sha256(str(folder).encode()).hexdigest()[:32]


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as temporary:
        made = Path(temporary) / folder.name
        made.mkdir()
        fill(made)
        for file in made.iterdir():
            file.chmod(0o644)  # safetensors writes 0600; others share the cache
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # a file system without locks: another process was first
                raise


def _matters(name: str) -> bool:
    return "/" not in name and any(fnmatch(name, p) for p in (*_FILES, *_OLD_WEIGHTS))


def _digest(folder: Path) -> str:
    """Digest of a folder's content, kept in the cache: to read 20 GB takes a minute."""
    files = [p for p in sorted(folder.iterdir()) if _matters(p.name) and p.is_file()]
    seen = [(str(p.absolute()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    name = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:32]

    def read(made: Path) -> None:
        digest = hashlib.sha256()
        for path in files:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name} {content}\n".encode())
        (made / "sha256").write_text(digest.hexdigest())

    return (_made_once(cache_folder() / "digests" / name, read) / "sha256").read_text()


def _require(folder: Path, name: str, what: str) -> None:
    if not (folder / name).is_file():
        raise ModelError(f"{folder}: has no {name}, so it is not {what}; give a folder that has it")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# ----------------------------------------------------------------------------------------- adapter


def find_adapter(adapter: str) -> Model:
    """Return the folder of a LoRA adapter: a local one, or one at an s3:// address, fetched once.

    Raises:
        ModelError: when it is not there, or no LoRA adapter.
        StorageError: when S3 cannot be read.
    """
    adapter = _address(adapter)
    source = _fetch_s3(adapter) if adapter.startswith("s3://") else Path(adapter).expanduser()
    if not source.is_dir():
        raise ModelError(f"adapter {adapter}: no such folder; give a folder or an s3:// address")
    _require(source, "adapter_config.json", "a LoRA adapter")
    if not any(source.glob("adapter_model.*")):
        raise ModelError(f"{source}: has no adapter_model.safetensors, the weights of the adapter")
    return Model(adapter, source, _digest(source))


def adapter_rank(adapter: str) -> int:
    """Return the rank of a LoRA adapter, without fetching its weights.

    Raises:
        ModelError: when there is no adapter_config.json that says it.
        StorageError: when the place cannot be read.
    """
    place = _address(adapter)
    if storage.is_local(place):
        place = str(Path(place).expanduser())
    data = storage.read(storage.join(place, "adapter_config.json"))
    if data is None:
        raise ModelError(
            f"adapter {adapter}: has no adapter_config.json, so it is not a LoRA adapter"
        )
    try:
        rank = json.loads(data)["r"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"adapter {adapter}: its adapter_config.json says no rank (r)") from error
    return int(rank)


def merge_adapter(model: Model, adapter: str) -> Model:
    """Return `model` with a LoRA adapter merged into it (bfloat16), made once in the cache.

    Raises:
        ModelError: when `adapter` is not a LoRA folder, or does not fit the model.
    """
    found = find_adapter(adapter)
    source = found.path
    name = f"{model.digest[:16]}-{found.digest[:16]}"

    def merge(folder: Path) -> None:
        logger.info("merging %s into %s, once", adapter, model.name)
        _merge(model, source, folder)

    folder = _made_once(cache_folder() / "merged" / name, merge)
    return Model(f"{model.name}+{adapter}", folder, _digest(folder))


def _merge(model: Model, adapter: Path, folder: Path) -> None:
    import torch
    from peft import PeftModel, get_peft_model_state_dict, load_peft_weights
    from transformers import AutoModelForCausalLM

    try:
        base = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.bfloat16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = PeftModel.from_pretrained(base, adapter, torch_device="cpu")
        # peft at most warns of what finds no place, in file or model: that is no fit either.
        given = {key for key in load_peft_weights(str(adapter), device="cpu") if "lora_" in key}
        wanted = {key for key in get_peft_model_state_dict(adapted) if "lora_" in key}
        if given != wanted:
            raise ValueError(f"{len(given ^ wanted)} of its tensors have no counterpart")
        merged = adapted.merge_and_unload()
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"adapter {adapter}: does not fit the model {model.name} ({_reason(error)}); give the "
            "adapter's own base model with --model"
        ) from error
    merged.save_pretrained(folder)
    for file in model.path.iterdir():
        weights = fnmatch(file.name, "*.safetensors*") or fnmatch(file.name, "*.bin*")
        if _matters(file.name) and not weights and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)


def _reason(error: BaseException) -> str:
    """One line of a message of torch, whose first line only names the class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "size mismatch" in line), (lines or ["no reason"])[0])


# --------------------------------------------------------------------------------------- tokenizer


def load_tokenizer(model: Model, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer.

    Raises:
        ModelError: when it cannot be loaded, or the model brings code and that is not trusted.
    """
    if not trust_remote_code and any(
        "auto_map" in _settings(model, name) for name in ("config.json", "tokenizer_config.json")
    ):
        raise ModelError(
            f"model {model.name}: it comes with Python code of its own; read it, then allow it to "
            "run with --trust-remote-code"
        )
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            model.path, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # tokenizers raises a bare Exception for a broken file
        raise ModelError(
            f"model {model.name}: no usable tokenizer in {model.path} ({_first_line(error)})"
        ) from error


def check_grammar(tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that answers of this tokenizer can be constrained by a grammar.

    Raises:
        ModelError: when the grammar backend cannot use it; it names `--grounding align`.
    """
    import llguidance.hf

    try:
        llguidance.hf.from_tokenizer(tokenizer)
    except Exception as error:  # it raises whatever the tokenizer's conversion raises
        raise ModelError(
            f"the tokenizer ({type(tokenizer).__name__}) cannot be used to constrain answers "
            f"({_first_line(error)}); use --grounding align"
        ) from error


def context_length(model: Model) -> int:
    """Return the most tokens that the model can see at once, as its config.json says.

    Raises:
        ModelError: when it does not say.
    """
    config = _settings(model, "config.json")
    names = ("max_position_embeddings", "seq_length", "n_positions", "model_max_length")
    for part in (config, config.get("text_config") or {}):
        for name in names:
            if isinstance(part.get(name), int):
                return cast(int, part[name])
    raise ModelError(
        f"{model.path / 'config.json'}: says no context length (none of {', '.join(names)})"
    )


def settled_context(name: str, asked: int | None, reach: int | None) -> int:
    """Return the tokens that a prompt and its answer may have: as asked, or 4096 or the reach.

    Args:
        reach: what the model can see at once, if that is known.

    Raises:
        ConfigError: more is asked than it reaches.
    """
    if asked is None:
        return min(_DEFAULT_CONTEXT, reach or _DEFAULT_CONTEXT)
    if reach and asked > reach:
        raise ConfigError(f"--context-limit {asked}: {name} reaches {reach}")
    return asked


def weights_size(model: Model) -> int:
    """Return the bytes of the model's weights."""
    return sum(file.stat().st_size for file in model.path.glob("*.safetensors"))


def cache_size(model: Model, tokens: int) -> int:
    """Return the bytes of keys and values (16 bits each) of a sequence of so many tokens.

    0 for a model whose config.json does not have what it takes: layers, heads and their size, in
    the names of Llama's or of ChatGLM's configuration.
    """
    config = _settings(model, "config.json")
    config = config.get("text_config") or config

    def first(*names: str) -> int:
        return next((config[name] for name in names if isinstance(config.get(name), int)), 0)

    layers, heads = first("num_hidden_layers", "num_layers"), first("num_attention_heads")
    groups = first("num_key_value_heads", "multi_query_group_num") or heads
    size = first("head_dim", "kv_channels") or (first("hidden_size") // heads if heads else 0)
    return 2 * 2 * layers * groups * size * tokens


def _settings(model: Model, name: str) -> dict[str, Any]:
    path = model.path / name
    try:
        return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({_first_line(error)})") from error


# -------------------------------------------------------------------------------------------- chat


def identity(model: Model, form: ChatForm) -> str:
    """Return what stands for a model in the fingerprint: its digest, and that it does not think.

    Where its chat template knows how, thinking is switched off: its prompts are others for that.
    """
    file = model.path / "chat_template.jinja"
    template = file.read_text("utf-8") if file.is_file() else None
    template = template or _settings(model, "tokenizer_config.json").get("chat_template")
    quiet = form == "template" and THINKING in str(template)
    return f"without thinking, {model.digest}" if quiet else model.digest


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], form: ChatForm = "template"
) -> list[int]:
    """Return the token ids of a conversation that the model is to answer.

    `template` is the tokenizer's own chat template, with thinking switched off where it knows how
    (`enable_thinking`, as Qwen3's does). `taiyi1` is how the first Taiyi was trained:
    one token begins, separates and ends the turns, which have no roles:
    `<|endoftext|>question<|endoftext|>answer<|endoftext|>question<|endoftext|>`.

    Raises:
        ModelError: when the tokenizer does not know the form.
        ValueError: when a `taiyi1` conversation is not user and assistant in turn, ending in user.
    """
    if form == "template":
        if not tokenizer.chat_template:
            raise ModelError(
                "the model has no chat template; use an instruction-tuned model, or --chat taiyi1 "
                "for a model trained in that form"
            )
        return _templated(tokenizer, messages)
    roles = [message["role"] for message in messages]
    if len(roles) % 2 == 0 or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise ValueError(f"the chat form taiyi1 has only user and assistant in turn, not {roles}")
    separator = _separator_id(tokenizer)
    tokens = [separator]
    for message in messages:
        # A text that spells a special token must not become one.
        tokens += tokenizer.encode(
            message["content"], add_special_tokens=False, split_special_tokens=True
        )
        tokens.append(separator)
    return tokens


def _templated(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    settings = {THINKING: False} if THINKING in str(tokenizer.chat_template) else {}
    if not any(token in message["content"] for message in messages for token in special):
        ids = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            **settings,
        )
        return cast(list[int], ids)
    # A text that spells a special token must not become one: the template is rendered around
    # place holders (of private-use characters), and text and template are tokenised apart.
    holders = {f"\ue000{n}\ue001": message["content"] for n, message in enumerate(messages)}
    rendered = tokenizer.apply_chat_template(
        [{**m, "content": holder} for m, holder in zip(messages, holders, strict=True)],
        add_generation_prompt=True,
        tokenize=False,
        **settings,
    )
    tokens: list[int] = []
    for piece in re.split("(\ue000\\d+\ue001)", cast(str, rendered)):
        text = holders.get(piece)
        tokens += tokenizer.encode(
            piece if text is None else text,
            add_special_tokens=False,
            split_special_tokens=text is not None,
        )
    return tokens


def stop_token_ids(tokenizer: PreTrainedTokenizerBase, form: ChatForm = "template") -> list[int]:
    """Return the ids that end an answer, besides those that the model's generation config names.

    Raises:
        ModelError: when the tokenizer does not know the form.
    """
    if form == "taiyi1":
        return [_separator_id(tokenizer)]
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _separator_id(tokenizer: PreTrainedTokenizerBase) -> int:
    number = tokenizer.get_vocab().get(_TAIYI1_SEPARATOR)
    if number is None:
        raise ModelError(
            f"the tokenizer has no {_TAIYI1_SEPARATOR}, which --chat taiyi1 needs; "
            "use --chat template"
        )
    return cast(int, number)
