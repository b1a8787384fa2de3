"""Parsing one record of XML, and taking text from its elements: shared by PubMed, BioC and JATS."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from taiyi_ray.errors import FormatError

Element = etree._Element

_PARSER = etree.XMLParser(
    encoding="utf-8",
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
    collect_ids=False,
)

_LAYOUT = re.compile("[ \t\r\n]+")


def parsed(data: bytes, quick: bytes | None = None) -> Element:
    """Parse the bytes of one record, without resolving entities or loading any other file.

    If the root is in a namespace, the names of all elements lose their namespaces.

    Args:
        data: the record, in UTF-8.
        quick: the record without the parts that nobody reads. It is parsed in place of `data`,
            unless it is not well-formed.

    Raises:
        FormatError: `encoding` or `malformed`.
    """
    try:
        data.isascii() or data.decode("utf-8")  # libxml2 would insert replacement characters
        element = _either(quick or data, data)
    except UnicodeDecodeError as error:
        message = f"bytes that are not valid in the file's encoding: {error.reason}"
        raise FormatError("encoding", message) from None
    except etree.XMLSyntaxError as error:
        first_line = str(error).partition("\n")[0]
        raise FormatError("malformed", f"not well-formed XML: {first_line}") from None
    if str(element.tag).startswith("{"):
        for inner in element.iter("{*}*"):
            inner.tag = local_name(inner)
    return element


def _either(quick: bytes, data: bytes) -> Element:
    try:
        return etree.fromstring(quick, _PARSER)
    except etree.XMLSyntaxError:
        return etree.fromstring(data, _PARSER)


def local_name(element: Element) -> str:
    """The name of an element without its namespace; raises FormatError for an undefined entity."""
    if not isinstance(element.tag, str):
        raise FormatError("malformed", f"an entity that is not defined: {element.text}")
    return element.tag.rpartition("}")[2]


def tidy(text: str) -> str:
    """Replace each run of layout white space by one blank, and remove it at the ends."""
    # Most texts are tidy: these four searches are far faster than a regular expression.
    if "\n" in text or "\t" in text or "\r" in text or "  " in text:
        text = _LAYOUT.sub(" ", text)
    return text.strip(" ")


def formula(math: Element) -> str:
    """Return the text of a MathML element: its tokens, with blanks only between words."""
    tokens: list[str] = []
    previous = ""
    for token in _tokens(math):
        letters = (previous[-1:] + token[0]).isalpha()
        words_meet = letters and previous and max(len(previous), len(token)) > 1
        tokens.append(f" {token}" if words_meet else token)
        previous = token
    return "".join(tokens) or tidy(math.get("alttext") or "")


def _tokens(math: Element) -> Iterator[str]:
    """Yield the texts in a MathML element in order, without its annotations in other notations."""
    walk = etree.iterwalk(math, events=("start", "end"))
    for event, element in walk:
        text = element.text if event == "start" else element.tail
        if event == "start" and local_name(element) in ("annotation", "annotation-xml"):
            walk.skip_subtree()
        elif (event == "start" or element is not math) and (token := tidy(text or "")):
            yield token
