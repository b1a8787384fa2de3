"""Attention over packed rows: a token sees its own record, and of a block the shared prefix.

One function, registered with transformers under the name PACKED, is used by every model whose
attention goes through transformers' interface. What a row consists of comes with each call as the
keyword argument `layout`. On CUDA one call of `varlen_attn` computes a whole row. Elsewhere, or
where that function is not there, short blocks are computed with plain products on a CPU, each with
its own mask, and all others a branch at a time. None makes a mask of a row's full size: that would
take 4 to 6 times as long on a CPU.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface

from taiyi_ray.errors import ModelError

PACKED = "taiyi_ray_packed"


def _varlen() -> Any:
    """`varlen_attn` in the form that is known here (torch 2.13), or None."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = {"cu_seq_q", "cu_seq_k", "max_q", "max_k", "scale", "window_size", "enable_gqa"}
    return varlen_attn if known <= set(inspect.signature(varlen_attn).parameters) else None


_VARLEN = _varlen()

SHORT = 768
"""Tokens of a block up to which plain products are faster on a CPU than SDPA, whose backward pass
there takes long for short sequences: with bfloat16 2 to 4 times up to 500 tokens, the same at 1,000
(`make bench-train`)."""


@dataclass(frozen=True)
class Layout:
    """What a row consists of.

    Attributes:
        blocks: for each block the length of its prefix, and the lengths of its branches.
        device: where the row is computed.
    """

    blocks: tuple[tuple[int, tuple[int, ...]], ...]
    device: torch.device

    @cached_property
    def sequences(self) -> tuple[tuple[int, int, int, int], ...]:
        """For each sequence of queries: its begin and end, and those of the prefix that it sees."""
        made = []
        at = 0
        for prefix, branches in self.blocks:
            begin = at
            if prefix:
                made.append((at, at + prefix, at, at))
                at += prefix
            for length in branches:
                made.append((at, at + length, begin, begin + prefix))
                at += length
        return tuple(made)

    @cached_property
    def longest(self) -> int:
        """The most tokens that one token sees."""
        return max(end - begin + after - before for begin, end, before, after in self.sequences)

    @cached_property
    def masks(self) -> tuple[torch.Tensor | None, ...]:
        """For each block what is added to its scores: (tokens, tokens), 0 or minus infinity.

        It is None for blocks that plain products do not serve.
        """
        made: list[torch.Tensor | None] = []
        for prefix, branches in self.blocks:
            size = prefix + sum(branches)
            if size > SHORT or self.device.type != "cpu":
                made.append(None)
                continue
            seen = torch.zeros(size, size, dtype=torch.bool)
            seen[:, :prefix] = True
            at = 0
            for length in (prefix, *branches):
                seen[at : at + length, at : at + length] = True
                at += length
            # Both numbers are exact in bfloat16, and scores of any type keep theirs.
            mask = torch.zeros(size, size, dtype=torch.bfloat16)
            made.append(mask.masked_fill_(~seen.tril_(), -torch.inf))
        return tuple(made)

    @cached_property
    def varlen(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        """Which keys each sequence sees, one after the other; borders of queries and of keys."""
        seen, queries, keys = [], [0], [0]
        for begin, end, before, after in self.sequences:
            seen += [torch.arange(before, after), torch.arange(begin, end)]
            queries.append(queries[-1] + end - begin)
            keys.append(keys[-1] + end - begin + after - before)
        most = max(end - begin for begin, end, _, _ in self.sequences)
        return (
            torch.cat(seen).to(self.device),
            torch.tensor(queries, dtype=torch.int32, device=self.device),
            torch.tensor(keys, dtype=torch.int32, device=self.device),
            most,
        )


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Compute the attention of one row, as transformers calls it.

    Args:
        module: the layer of attention.
        query: (1, heads, tokens, size), as `key` and `value`, which may have fewer heads.
        key: the keys.
        value: the values.
        attention_mask: always None; `layout` says what a token sees.
        scaling: what the products are multiplied with.
        dropout: the share of weights that is dropped while training.
        **more: `layout`, and what a model asks beyond plain causal attention.

    Raises:
        ModelError: the model asks for attention that is not computed here.
    """
    layout: Layout | None = more.get("layout")
    if layout is None:
        raise ModelError("the model does not hand the layout of a row on to its attention")
    if len(query) != 1 or query.shape[2] != key.shape[2]:
        raise ModelError("packed attention takes one row, and no cache")
    for name in ("softcap", "s_aux", "position_bias"):
        if more.get(name) is not None:
            raise ModelError(
                f"the attention of this model has {name}, which cannot be trained here"
            )
    window = more.get("sliding_window")
    if window is not None and layout.longest > window:
        raise ModelError(
            f"the model's attention looks back {window} tokens; give --row-tokens {window} and a "
            "new --output"
        )
    if _takes_varlen(query) and not dropout:
        # Rotary positions of 32 bits make queries and keys such ones again, also under autocast,
        # which knows SDPA and not this function.
        dtype = _computed_in(query)
        query, key, value = (each.to(dtype) for each in (query, key, value))
        return _by_varlen(query, key, value, scaling, layout), None
    return _by_block(query, key, value, scaling, dropout, layout), None


def _computed_in(query: torch.Tensor) -> torch.dtype:
    """The type of numbers that products are computed in."""
    device = query.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return query.dtype


def _takes_varlen(query: torch.Tensor) -> bool:
    """Whether FlashAttention, which computes `varlen_attn`, takes such queries."""
    return (
        query.is_cuda
        and _VARLEN is not None
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
        and _computed_in(query) in (torch.bfloat16, torch.float16)
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= 256
    )


def _by_block(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    dropout: float,
    layout: Layout,
) -> torch.Tensor:
    parts: list[torch.Tensor] = []
    at = 0
    for block, mask in zip(layout.blocks, layout.masks, strict=True):
        tokens = slice(at, at + block[0] + sum(block[1]))
        mine = query[:, :, tokens], key[:, :, tokens], value[:, :, tokens]
        if mask is None or dropout:
            parts += _by_sequence(*mine, scaling, dropout, Layout((block,), layout.device))
        else:
            parts.append(_by_products(*mine, scaling, mask))
        at = tokens.stop
    return torch.cat(parts, 2).transpose(1, 2).contiguous()


def _by_products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    mask: torch.Tensor,
) -> torch.Tensor:
    """Plain attention; queries of heads that share keys are multiplied with them at once."""
    _, heads, tokens, size = query.shape
    groups = key.shape[1]
    asking = query.reshape(groups, -1, size) * (size**-0.5 if scaling is None else scaling)
    scores = torch.bmm(asking, key[0].transpose(1, 2)).view(groups, -1, tokens, tokens)
    weights = (scores + mask).softmax(-1)
    return torch.bmm(weights.view(groups, -1, tokens), value[0]).view(1, heads, tokens, size)


def _by_sequence(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    dropout: float,
    layout: Layout,
) -> list[torch.Tensor]:
    parts = []
    for begin, end, before, after in layout.sequences:
        mine, shared = slice(begin, end), slice(before, after)
        keys, values, mask = key[:, :, mine], value[:, :, mine], None
        if prefix := after - before:
            keys = torch.cat((key[:, :, shared], keys), 2)
            values = torch.cat((value[:, :, shared], values), 2)
            size = (end - begin, prefix + end - begin)
            mask = torch.ones(size, dtype=torch.bool, device=query.device).tril(prefix)
        parts.append(
            F.scaled_dot_product_attention(
                query[:, :, mine],
                keys,
                values,
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=True,
            )
        )
    return parts


def _by_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    layout: Layout,
) -> torch.Tensor:
    """One call for the row: causal attention is aligned to the last key, as branches need it."""
    seen, queries, keys, most = layout.varlen
    found = _VARLEN(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1)[seen],
        value[0].transpose(0, 1)[seen],
        queries,
        keys,
        most,
        layout.longest,
        scale=scaling,
        window_size=(-1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return found[None]


AttentionInterface.register(PACKED, attend)
AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
