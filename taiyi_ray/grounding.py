"""Locating surfaces in a text, and grammars that let a model write only pieces of the text.

*Constrain, then locate.* The grammars are Lark text for llguidance (vLLM's `guidance` backend,
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md). Their mention terminal is the
intersection of "a run of words (in Chinese: of characters) of THIS text" with "a mention that holds
no separator and is no wording of nothing".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from taiyi_ray.forms import BORDER, Folded, Running, is_han, is_mark, running
from taiyi_ray.nothing import standing_in
from taiyi_ray.records import Grounded, Span

MOST = 24
"""The most items of one type that a grammar allows: small models otherwise list without end."""

GRAMMAR = 2
"""Must rise when a grammar allows other answers to the same question; it is in the fingerprint."""


# ---------------------------------------------------------------------------------------- locate


def _is_word(character: str) -> bool:
    """Whether a character is part of a word: letters, digits and marks, but no Han character."""
    if is_han(character):
        return False
    return character.isalnum() or is_mark(character)


_LAST_WITHOUT_MARK = "\u02ff"
_Splits = Callable[[str, int], bool]
"""Tells whether a mention in this text must not begin or end at this offset."""


def _splits_letter(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at] > _LAST_WITHOUT_MARK and is_mark(text[at])


def _splits_word(text: str, at: int) -> bool:
    if not 0 < at < len(text):
        return False
    return (_is_word(text[at - 1]) and _is_word(text[at])) or _splits_letter(text, at)


def _splits_nothing(text: str, at: int) -> bool:
    return False


_BOUNDS: tuple[_Splits, ...] = (_splits_word, _splits_letter, _splits_nothing)
"""The rules of what a mention must not split, the strictest first."""


def _occurrences(surface: str, text: str, splits: _Splits) -> list[tuple[int, int]]:
    """Return the ranges where `surface` stands in `text`, left to right, without overlaps."""
    ranges, at = [], text.find(surface)
    while at >= 0:
        end = at + len(surface)
        if splits(text, at) or splits(text, end):
            end = at + 1
        else:
            ranges.append((at, end))
        at = text.find(surface, end)
    return ranges


class Locator:
    """Finds surfaces in running text of one language.

    Outside Chinese a mention must not begin or end inside a word, unless its surface occurs nowhere
    else: on the gold mentions of BC5CDR's test set this finds 99.97 % at a precision of 99.7 %. A
    mention never separates a letter from its marks, unless the model wrote under a grammar.

    Args:
        text: the text to search; a mention never crosses its BORDERs.
        language: `zh`: words have no bounds; any other language: they have.
        fold: also find surfaces that only look the same (`--grounding align`). Without it, a
            grammar is taken to have let the model write only pieces of the text.
    """

    def __init__(self, text: Running, language: str, *, fold: bool) -> None:
        self._running = text
        self._language = language
        self._fold = fold
        # What a model writes under a grammar is a piece of the text: the last rule must find it.
        self._bounds = _BOUNDS[language == "zh" : 2 if fold else 3]

    @cached_property
    def _folded(self) -> Folded:
        return Folded(self._running.text, self._language)

    def find(self, surface: str) -> tuple[list[Span], Grounded]:
        """Return every occurrence of `surface`, and how they match (`none` when there are none).

        A line end inside an occurrence matches the blank that it stands for. A folded match of
        whole words is preferred to an exact match that begins or ends inside a word: `ala` is
        `Ala`, not a piece of `alanine`.
        """
        surface = running(surface)
        if BORDER not in surface:
            for splits in self._bounds:
                if spans := self._exact(surface, splits):
                    return spans, "exact"
                if self._fold and (spans := self._in_folded(surface, splits)):
                    return spans, "folded"
        return [], "none"

    def _exact(self, surface: str, splits: _Splits) -> list[Span]:
        text = self._running.text
        if not surface or surface not in text:
            return []
        ranges = _occurrences(surface, text, splits)
        return [Span(*self._running.range(*range_)) for range_ in ranges]

    def _in_folded(self, surface: str, splits: _Splits) -> list[Span]:
        needle, text = Folded(surface, self._language).text.strip(), self._folded.text
        if not needle or needle not in text:
            return []
        ranges = (self._folded.range(*range_) for range_ in _occurrences(needle, text, splits))
        return [Span(*self._running.range(*range_)) for range_ in ranges]


def longest(occurrences: dict[str, list[Span]]) -> dict[str, list[Span]]:
    """Drop the occurrences that lie inside a longer mention of the same list.

    A surface that occurs only inside others keeps its occurrences, so that nothing is lost that the
    model wrote (nested mentions are gold in CMeEE).
    """
    widest_first = sorted(
        ((span, surface) for surface, spans in occurrences.items() for span in spans),
        key=lambda item: (item[0].start, -item[0].end),
    )
    free: dict[str, list[Span]] = {surface: [] for surface in occurrences}
    end = -1
    for span, surface in widest_first:
        if span.end > end:
            free[surface].append(span)
            end = span.end
    return {surface: free[surface] or spans for surface, spans in occurrences.items()}


# --------------------------------------------------------------------------------------- grammars


def behind(head: str, grammar: str) -> str:
    """Return the grammar of answers that begin with `head` and go on as `grammar` says.

    Args:
        head: the beginning of the answers.
        grammar: a grammar of this module, whose first rule is `start`.
    """
    return f"start: {_quoted(head)} rest\nrest{grammar.removeprefix('start')}"


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


LONGEST = 150
"""The most characters of a mention that a grammar allows. None of 54,973 gold mentions of six
English corpora exceeds 120, but without a limit a small model copies whole sentences until it is
out of tokens."""

# A mention of one character is a letter or digit; a longer one neither begins nor ends with a blank
# or one of these signs (4 of those gold mentions do). The expressions must stay small: a complement
# or a third operand in the intersection with a text exhausts llguidance's lexer.
_EDGE = r" .,:;。，、：；"


@dataclass(frozen=True, slots=True)
class _Item:
    """The signs that an item of an answer may hold.

    Attributes:
        name: the name of the item's terminal.
        edge: signs that it neither begins nor ends with, besides those of `_EDGE`, as they are
            written in a class of a regular expression.
        inside: signs that end it, written in the same way.
        commas: whether a comma before a blank ends it too.
    """

    name: str
    edge: str
    inside: str
    commas: bool

    def terminal(self, text: str, language: str) -> str:
        """The item's terminal: a piece of the text that is no usual wording of nothing."""
        nothing = frozenset(standing_in(text, language))
        return f"{self.name}: S & /{self._beginning(nothing)}/"

    def _end(self, but: str = "") -> str:
        return rf"[^{_EDGE}{self.edge}\n{but}]"

    def _sign(self, but: str = "") -> str:
        if self.commas:
            return rf"([^,{self.inside}\n{but}]|,+[^ ,{self.inside}\n])"
        return rf"[^{self.inside}\n{but}]"

    def _beginning(self, words: frozenset[str]) -> str:
        """Match any item but these words: it differs from each at some sign, or is longer."""
        signs, but = _next(words, "")
        alone = rf"[\p{{L}}\p{{N}}--[{but}]]" if but else r"[\p{L}\p{N}]"
        longer = rf"{self._end(but)}{self._sign()}{{0,{LONGEST - 2}}}{self._end()}"
        return "|".join([alone, longer, *(_escaped(s) + self._after(words, s) for s in signs)])

    def _after(self, words: frozenset[str], prefix: str) -> str:
        """Match what may follow `prefix`, which one of the words begins with."""
        signs, but = _next(words, prefix)
        more = f"{{0,{LONGEST - 2 - len(prefix)}}}"
        ways = [self._end(but), f"{self._sign(but)}{self._sign()}{more}{self._end()}"]
        ways += [_escaped(s) + self._after(words, prefix + s) for s in signs]
        may_end = prefix not in words and prefix[-1] not in _EDGE
        return f"({'|'.join(ways)})" + ("?" if may_end else "")


def _next(words: frozenset[str], prefix: str) -> tuple[list[str], str]:
    """The signs that follow a prefix in these words: as a list, and as written in a class."""
    following = {w[len(prefix)] for w in words if w.startswith(prefix) and len(w) > len(prefix)}
    signs = sorted(following)
    return signs, "".join(map(_escaped, signs))


def _escaped(sign: str) -> str:
    """Write a letter, a blank or a slash for a regular expression between slashes."""
    return r"\/" if sign == "/" else sign


_MENTION = _Item("M", "", ";", commas=False)
# No part of a pair may hold a bracket or ", ", which would end the part.
_PART = _Item("P", r"\[\]", r";\[\]", commas=True)
# The words of an event stand between parentheses, or between full-width signs in Chinese.
_WORDS = _Item("P", r"()\[\]", r";()\[\]", commas=True)
_CHINESE_WORDS = _Item("P", "", "，；", commas=False)
PLAYERS = 8
"""The most arguments that a grammar allows: of one event, in Chinese of each role of one event."""


def _pieces(text: str, language: str) -> str:
    """The terminal that matches every run of words (in Chinese: of characters) of a text."""
    kind = "substring_chars" if language == "zh" else "substring_words"
    return f"S: %regex {_quoted({kind: text})}"


def _grammar(
    heads: Sequence[str], item: str, terminal: str, end: str, none: str, text: str, language: str
) -> str:
    """Lines `head item; item` in the given order, at least one of them, or `none`."""
    return "\n".join(
        [
            *_lines(heads, ["list"] * len(heads), end, none),
            _list("list", item),
            terminal,
            _pieces(text, language),
            "",
        ]
    )


def _lines(heads: Sequence[str], lists: Sequence[str], end: str, none: str) -> list[str]:
    """The rules of lines `head list` in the given order, at least one of them, or `none`."""
    last = len(heads) - 1
    rules = [
        f"r{n}: {_quoted(head)} {list_}" + (f' ("\\n" r{n + 1})? | r{n + 1}' if n < last else "")
        for n, (head, list_) in enumerate(zip(heads, lists, strict=True))
    ]
    return [f"start: r0 {_quoted(end) if end else ''} | {_quoted(none)}", *rules]


def _list(name: str, item: str) -> str:
    return f'{name}: {item} ("; " {item}){{0,{MOST - 1}}}'


def mentions_grammar(heads: Sequence[str], end: str, none: str, text: str, language: str) -> str:
    """Lark grammar of `head m1; m2` lines, every mention a piece of `text`.

    Args:
        heads: the beginnings of the lines, in order, with their separators (`disease: `).
        end: the end of the answer (a line feed in Taiyi's Chinese form, else empty).
        none: the answer when the text has no such mention.
        text: the text that every mention is a piece of.
        language: `zh` allows any run of characters, any other language runs of words.
    """
    terminal = _MENTION.terminal(text, language)
    return _grammar(heads, "M", terminal, end, none, text, language)


def pairs_grammar(heads: Sequence[str], end: str, none: str, text: str, language: str) -> str:
    """Lark grammar of `head [m1, m2]; [m3, m4]` lines, every part of a pair a piece of `text`.

    Args:
        heads, end, none, text, language: as in `mentions_grammar`.
    """
    terminal = f'pair: "[" P ", " P "]"\n{_PART.terminal(text, language)}'
    return _grammar(heads, "pair", terminal, end, none, text, language)


def known_pairs_grammar(
    heads: Sequence[str], ends: Sequence[tuple[Sequence[str], Sequence[str]]], none: str
) -> str:
    """Lark grammar of `head [m1, m2]; [m3, m4]` lines, every part of a pair a known mention.

    Args:
        heads: the beginnings of the lines, in order, with their separators.
        ends: for each line the mentions that its pairs are between: a pair names one of each, in
            either order. No mention holds a sign that would end a part of a pair.
        none: the answer when the text has no such pair.
    """
    numbers = range(len(heads))
    rules = _lines(heads, [f"list{n}" for n in numbers], "", none)
    for n, (one, other) in zip(numbers, ends, strict=True):
        rules += [
            _list(f"list{n}", f"pair{n}"),
            f'pair{n}: "[" a{n} ", " b{n} "]" | "[" b{n} ", " a{n} "]"',
            f"a{n}: {' | '.join(map(_quoted, one))}",
            f"b{n}: {' | '.join(map(_quoted, other))}",
        ]
    return "\n".join([*rules, ""])


def chains_grammar(none: str, text: str, language: str) -> str:
    """Lark grammar of lines `m1; m2; m3`, every mention a piece of `text`, two or more in a line.

    Args:
        none, text, language: as in `mentions_grammar`.
    """
    return "\n".join(
        [
            f'start: chain ("\\n" chain){{0,{MOST - 1}}} | {_quoted(none)}',
            f'chain: M ("; " M){{1,{MOST - 1}}}',
            _MENTION.terminal(text, language),
            _pieces(text, language),
            "",
        ]
    )


DEPTH = 4
"""The most conditions behind one another that a grammar of a decision tree allows."""


def tree_grammar(conditions: Sequence[str], decision: str, colon: str, none: str) -> str:
    """Lark grammar of a decision tree: a line for each node, a condition before both of its cases.

    Args:
        conditions: what the line of a condition may begin with.
        decision: what the line of a decision begins with.
        colon: what follows this beginning.
        none: the words of a decision to do nothing.
    """
    condition = " | ".join(_quoted(beginning + colon) for beginning in conditions)
    leaf = f"{_quoted(decision + colon)} (triples | {_quoted(none)})"
    deeper = [
        f'tree{n}: leaf | condition triples "\\n" tree{n + 1} "\\n" tree{n + 1}'
        for n in range(DEPTH)
    ]
    return "\n".join(
        [
            "start: tree0",
            *deeper,
            f"tree{DEPTH}: leaf",
            f"condition: {condition}",
            f"leaf: {leaf}",
            f'triples: triple ("; " triple){{0,{PLAYERS - 1}}}',
            'triple: "[" PART ", " PART ", " PART "]"',
            r"PART: /[^\[\],;\s]([^\[\],;\n]{0,48}[^\[\],;\s])?/",
            "",
        ]
    )


@dataclass(frozen=True, slots=True)
class EventFields:
    """The words by which an answer names the parts of an event.

    Attributes:
        trigger: the word before the trigger; None when events of this type have none.
        roles: the names of the roles that arguments play.
    """

    trigger: str | None
    roles: tuple[str, ...]


def events_grammar(
    heads: Sequence[str], fields: Sequence[EventFields], none: str, text: str, language: str
) -> str:
    """Lark grammar of events of each type, every trigger and argument a piece of `text`.

    In English each type has a line, `head (Trigger: t, Role: a); (Trigger: t)`, with the roles in
    any order. In Chinese each event has a line below the head, `触发词：t；角色：a，b；角色：`. It
    has all roles in their order; a role may be empty.

    Args:
        heads: the beginnings of the answers for each type, in order.
        fields: the parts of an event of each type.
        none, text, language: as in `mentions_grammar`.
    """
    rules_of, item = (
        (_chinese_event, _CHINESE_WORDS) if language == "zh" else (_english_event, _WORDS)
    )
    rules = []
    for n, (head, of_type) in enumerate(zip(heads, fields, strict=True)):
        rest = f' ("\\n" r{n + 1})? | r{n + 1}' if n < len(heads) - 1 else ""
        rules += rules_of(n, _quoted(head), of_type, rest)
    if language == "zh" and any(of_type.roles for of_type in fields):
        rules.append(f'players: (P ("，" P){{0,{PLAYERS - 1}}})?')
    return "\n".join(
        [
            f"start: r0 | {_quoted(none)}",
            *rules,
            item.terminal(text, language),
            _pieces(text, language),
            "",
        ]
    )


def _chinese_event(n: int, head: str, fields: EventFields, rest: str) -> list[str]:
    """The rules of events of one type in Chinese.

    Args:
        n: the number of the type.
        head: the beginning of its answer, in quotes.
        fields: the parts of an event.
        rest: what follows the events of this type.
    """
    named = [f"{_quoted(fields.trigger + '：')} P"] if fields.trigger else []
    named += [f"{_quoted(role + '：')} players" for role in fields.roles]
    return [f'r{n}: {head} ("\\n" e{n}){{1,{MOST}}}{rest}', f"e{n}: " + ' "；" '.join(named)]


def _english_event(n: int, head: str, fields: EventFields, rest: str) -> list[str]:
    """The rules of events of one type in English; the arguments as in `_chinese_event`."""
    line = f'r{n}: {head} e{n} ("; " e{n}){{0,{MOST - 1}}}{rest}'
    player = f"a{n}: " + " | ".join(f"{_quoted(role + ': ')} P" for role in fields.roles)
    if fields.trigger is None:
        return [line, f'e{n}: "(" a{n} (", " a{n}){{0,{PLAYERS - 1}}} ")"', player]
    trigger = _quoted(f"({fields.trigger}: ")
    if not fields.roles:
        return [line, f'e{n}: {trigger} P ")"']
    return [line, f'e{n}: {trigger} P (", " a{n}){{0,{PLAYERS}}} ")"', player]


def labels_grammar(head: str, labels: Sequence[str], none: str | None) -> str:
    """Lark grammar of an answer that names labels.

    Args:
        head: the beginning of the answer.
        labels: the labels that may be named, in order.
        none: None: the answer is `head label`. Otherwise it is `head l1; l2` with one label or
            more in their order, or `head none`.
    """
    start = f"start: {_quoted(head)} " if head else "start: "
    if none is None:
        return f"{start}({' | '.join(_quoted(label) for label in labels)})\n"
    rules = [
        f"l{n}: {_quoted(label)}" + (f' ("; " l{n + 1})? | l{n + 1}' if n < len(labels) - 1 else "")
        for n, label in enumerate(labels)
    ]
    return "\n".join([f"{start}(l0 | {_quoted(none)})", *rules, ""])


def sections_grammar(heads: Sequence[str]) -> str:
    """Lark grammar of `head text` for each head in order; a text is one line, and may be empty.

    Args:
        heads: what stands before each text, with the line ends; it may be empty.
    """
    parts = " ".join(f"{_quoted(head)} LINE?" for head in heads)
    return f"start: {parts}\nLINE: / ?[^ \\n][^\\n]*/\n"
