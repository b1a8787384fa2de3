"""The rival of the product's grammar: an EBNF of one document, for vLLM's xgrammar backend.

A mention is a path through the word-level suffix automaton of the text (Blumer et al. 1985), one
rule a state, written out as rules of the answer form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from taiyi_ray.forms import HAN
from taiyi_ray.grounding import MOST

_UNIT = re.compile(rf"\s*(?:[{HAN}]|[^\W_{HAN}]+|[^\w\s]|_)")
_SEPARATOR = re.compile(r"[;\n]")


def mentions_ebnf(heads: Sequence[str], end: str, none: str, text: str) -> str:
    """EBNF of `head m1; m2` lines, as `taiyi_ray.grounding.mentions_grammar` makes Lark of them."""
    last = len(heads) - 1
    quoted = json.dumps(end, ensure_ascii=False)
    lines = [f"root ::= l0 {quoted} | {json.dumps(none, ensure_ascii=False)}"]
    for number, head in enumerate(heads):
        rest = f' ("\\n" l{number + 1})? | l{number + 1}' if number < last else ""
        lines.append(f"l{number} ::= {json.dumps(head, ensure_ascii=False)} list{rest}")
    lines.append(f'list ::= m ("; " m){{0,{MOST - 1}}}')
    return "\n".join(lines + _mention_rules(_automaton(text)))


def _automaton(text: str) -> list[dict[str, int]]:
    """Transitions of every state; pieces between separators are added one after the other."""
    next_: list[dict[str, int]] = [{}]
    link, length = [-1], [0]
    for piece in _SEPARATOR.split(text):
        last = 0
        for unit in _UNIT.findall(piece):
            last = _extended(unit, last, next_, link, length)
    return next_


def _extended(
    unit: str, last: int, next_: list[dict[str, int]], link: list[int], length: list[int]
) -> int:
    """Add a unit behind state `last` and return the state reached."""
    there = next_[last].get(unit)
    if there is not None and length[there] == length[last] + 1:
        return there
    if there is not None:
        return _cloned(unit, last, there, next_, link, length)
    state, before = len(next_), last
    next_.append({})
    link.append(0)
    length.append(length[last] + 1)
    while before >= 0 and unit not in next_[before]:
        next_[before][unit] = state
        before = link[before]
    if before >= 0:
        other = next_[before][unit]
        if length[other] == length[before] + 1:
            link[state] = other
        else:
            link[state] = _cloned(unit, before, other, next_, link, length)
    return state


def _cloned(
    unit: str,
    before: int,
    state: int,
    next_: list[dict[str, int]],
    link: list[int],
    length: list[int],
) -> int:
    clone = len(next_)
    next_.append(dict(next_[state]))
    link.append(link[state])
    length.append(length[before] + 1)
    while before >= 0 and next_[before].get(unit) == state:
        next_[before][unit] = clone
        before = link[before]
    link[state] = clone
    return clone


def _mention_rules(next_: list[dict[str, int]]) -> list[str]:
    ends = {
        state
        for moves in next_
        for unit, state in moves.items()
        if unit.strip()[0].isalnum() or unit.strip()[0] in ")]%+'"
    }
    begins = [
        f"{_quoted(unit.strip())} s{state}"
        for unit, state in next_[0].items()
        if unit.strip()[0].isalnum() or unit.strip()[0] in "(["
    ]
    rules = [f"m ::= {' | '.join(dict.fromkeys(begins))}"]
    for state, moves in enumerate(next_[1:], 1):
        stop = ['""'] if state in ends or not moves else []
        rules.append(
            f"s{state} ::= "
            + " | ".join(stop + [f"{_quoted(unit)} s{to}" for unit, to in moves.items()])
        )
    return rules


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
