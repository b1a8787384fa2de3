"""Find LoRA adapters and merge them into their model."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from fnmatch import fnmatch
from pathlib import Path

from taiyi_ray import cache, storage
from taiyi_ray.errors import ModelError
from taiyi_ray.models.asking import ASKING_FILE
from taiyi_ray.models.folder import (
    Model,
    address_of,
    digest_of,
    fetch_s3,
    matters,
    require,
)
from taiyi_ray.models.trained import trained_on, write_trained_on

logger = logging.getLogger(__name__)


def find_adapter(adapter: str) -> Model:
    """Return a LoRA adapter from a local folder, or from an s3:// address, fetched once.

    Raises:
        ModelError: when it is not there, or is no LoRA adapter.
        StorageError: when S3 cannot be read.
    """
    adapter = address_of(adapter)
    source = fetch_s3(adapter) if adapter.startswith("s3://") else Path(adapter).expanduser()
    if not source.is_dir():
        raise ModelError(f"adapter {adapter}: no such folder; give a folder or an s3:// address")
    require(source, "adapter_config.json", "a LoRA adapter")
    if not any(source.glob("adapter_model.*")):
        raise ModelError(f"{source}: has no adapter_model.safetensors, the weights of the adapter")
    return Model(adapter, source, digest_of(source))


def adapter_rank(adapter: str) -> int:
    """Return the rank of a LoRA adapter, without fetching its weights.

    Raises:
        ModelError: when there is no adapter_config.json that says the rank.
        StorageError: when the address cannot be read.
    """
    address = address_of(adapter)
    if storage.is_local(address):
        address = str(Path(address).expanduser())
    data = storage.read(storage.join(address, "adapter_config.json"))
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
    """Return `model` with a LoRA adapter merged into it, in bfloat16; the cache keeps the result.

    Its digest is made of those of the model and of the adapter. The digest of its own files would
    not be the same everywhere: processors with other instructions sum in another order, and round
    to other bytes.

    Raises:
        ModelError: when `adapter` is not a LoRA folder, or does not fit the model.
    """
    found = find_adapter(adapter)
    source = found.path
    name = f"{model.digest[:16]}-{found.digest[:16]}"

    def merge(folder: Path) -> None:
        logger.info("merging %s into %s, once", adapter, model.name)
        _merge(model, source, folder)

    folder = cache.made_once(cache.folder() / "merged" / name, merge)
    digest = hashlib.sha256(f"{model.digest}+{found.digest}".encode()).hexdigest()
    return Model(f"{model.name}+{adapter}", folder, digest)


def _merge(model: Model, adapter: Path, folder: Path) -> None:
    import torch
    from peft import PeftModel, get_peft_model_state_dict, load_peft_weights
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM

    try:
        base = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.bfloat16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = PeftModel.from_pretrained(base, adapter, torch_device="cpu")
        # When a tensor of the file or of the model has no counterpart, peft only warns.
        given = {key for key in load_peft_weights(str(adapter), device="cpu") if "lora_" in key}
        # By default peft asks the hub whether the base has these embeddings.
        states = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        wanted = {key for key in states if "lora_" in key}
        if given != wanted:
            raise ValueError(f"{len(given ^ wanted)} of its tensors have no counterpart")
        if base.config.tie_word_embeddings and isinstance(
            adapted.get_base_model().get_output_embeddings(), LoraLayer
        ):
            raise ModelError(
                f"adapter {adapter}: changes the last layer of {model.name}, which shares its "
                "weights with the first: merged it would change both; train one without that layer"
            )
        merged = adapted.merge_and_unload()
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"adapter {adapter}: does not fit the model {model.name} ({_reason(error)}); give the "
            "adapter's own base model with --model"
        ) from error
    merged.save_pretrained(folder)
    if (adapter / ASKING_FILE).is_file():
        shutil.copyfile(adapter / ASKING_FILE, folder / ASKING_FILE)
    if (trained := trained_on(str(model.path), str(adapter))) is not None:
        write_trained_on(str(folder), trained)
    for file in model.path.iterdir():
        weights = fnmatch(file.name, "*.safetensors*") or fnmatch(file.name, "*.bin*")
        if matters(file.name) and not weights and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)


def _reason(error: BaseException) -> str:
    """The telling line of a message of torch, whose first line only names the class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "size mismatch" in line), (lines or ["no reason"])[0])
