"""Why an answer cannot state a gold annotation: the reasons that the `lost` of a task counts by.

Every gold annotation with offsets belongs to the window that it begins in, and one without to the
window that the document begins with. So the losses of all questions on a document in one window for
each language can be added up. When a document is cut into windows, a pair or an event that does not
lie in one of them may be stated in another one that holds its words; it counts as lost where it
belongs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from taiyi_ray import nothing
from taiyi_ray.grounding import LONGEST, MOST
from taiyi_ray.records import Mention
from taiyi_ray.tasks.task import Question, Window

SEPARATOR = "a separator in the words"
BLANK = "blanks at the ends of the words"
LONG = "words longer than a mention may be"
NO_WORDS = "no words"
NO_OFFSETS = "no offsets"
DISCONTINUOUS = "discontinuous"
NOT_IN_TEXT = "not in the text of the window"
OUTSIDE = "goes beyond the window"
NESTED = "inside a longer mention"
IN_A_WORD = "inside a word"
BOUND = "over the bound of a list"
NOTHING = "reads as nothing"
OTHERWISE = "reads as something else"
ELSEWHERE = "at another occurrence of the words"
NOT_ASKED = "not among what the question asks for"
SECOND = "a second one where one may be true"
NO_TRIGGER = "no trigger"
TRIGGER = "a trigger that is not asked for"
EVENT = "an argument that is an event without a trigger"
LINES = "more than one line"
ALONE = "alone in its chain"
OTHER_CONCEPT = "the same words with another concept"


class Stated(NamedTuple):
    """A gold annotation as an answer would state it.

    Attributes:
        key: what the score of the task compares.
        words: how the answer states it; empty when it does not.
        reason: why the answer form cannot state it; None if it can. An event of which only an
            argument cannot be stated has both.
    """

    key: Hashable
    words: str
    reason: str | None


def belongs(window: Window, start: int | None) -> bool:
    """Whether a gold annotation that begins at this offset belongs to a question on this window.

    Args:
        window: the window of the question.
        start: the offset in the document; None for an annotation without offsets.
    """
    if start is None:
        return window.index == 0 and window.spans[0].start == 0
    return window.holds(start, start + 1)


def unwritable(words: str, separators: Sequence[str]) -> str | None:
    """Why the answer form cannot state words so that they are read back; None if it can.

    The form limits the length of a mention and cannot escape a separator.

    Args:
        words: the words of a mention, as running text.
        separators: what separates words in the form, besides line ends.
    """
    if not words:
        return NO_WORDS
    if any(separator in words for separator in (*separators, "\n")):
        return SEPARATOR
    if words != words.strip():
        return BLANK
    return LONG if len(words) > LONGEST else None


def absent(words: str, window: Window, mentions: Iterable[Mention] = ()) -> str | None:
    """Why words are not in the running text of a window; None if they are.

    Args:
        words: the words, as running text.
        window: the window.
        mentions: the gold mentions that have these words.
    """
    if words in window.running.text:
        return None
    return DISCONTINUOUS if any(mention.spans for mention in mentions) else NOT_IN_TEXT


def bounded(question: Question, items: Sequence[Stated]) -> list[Stated]:
    """The items of a list, in order, without words for those over the bound that a grammar sets."""
    if question.grammar is None:
        return list(items)
    over = set(written(items)[MOST:])
    return [Stated(i.key, "", BOUND) if i.words in over else i for i in items]


def written(items: Iterable[Stated]) -> list[str]:
    """How the answer states the items, each once."""
    return list(dict.fromkeys(item.words for item in items if item.words))


def misread(words: Iterable[str]) -> str:
    """Why words that were written are not read back, in whatever part of an answer they stand."""
    return NOTHING if any(nothing.is_word(word) for word in words) else OTHERWISE


def count(
    items: Iterable[Stated], not_back: Callable[[Stated], str | None] = lambda _: None
) -> Counter[str]:
    """Count gold annotations by the reason for which they are lost; equal ones count once.

    Args:
        items: the annotations.
        not_back: says why an annotation that the answer states is not read back; None if it is.
    """
    reasons: dict[Hashable, str | None] = {}
    for item in items:
        if item.key not in reasons or reasons[item.key] is not None:
            reasons[item.key] = item.reason or not_back(item)
    return Counter(reason for reason in reasons.values() if reason)
