"""BioC XML: a collection of documents (bioc.py describes a document)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import Any, BinaryIO, Final

from lxml import etree

from taiyi_ray.formats import bioc, xml_elements, xml_scanner
from taiyi_ray.formats.format import Format, RawRecord, Writer, Written
from taiyi_ray.formats.xml_elements import Element, local_name
from taiyi_ray.records import Annotations, Document

_RECORDS: Final = xml_scanner.XmlRecords(
    roots=(b"collection",), records=(b"document",), expected="collection", fault="not_bioc"
)

# Element -> the key of the list that its values go to.
_LISTS: Final = {
    "passage": "passages",
    "sentence": "sentences",
    "annotation": "annotations",
    "relation": "relations",
    "location": "locations",
    "node": "nodes",
}

_ATTRIBUTES: Final = {
    "annotation": ("id",),
    "relation": ("id",),
    "location": ("offset", "length"),
    "node": ("refid", "role"),
}
_ORDER: Final = (
    *("id", "infons", "offset", "location", "text", "sentence", "passage"),
    *("annotation", "relation", "node"),
)

# The characters that XML 1.0 cannot hold, not even as a reference.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the documents of a BioC collection."""
    return xml_scanner.scan(stream, _RECORDS)


def parse(raw: RawRecord) -> Document:
    """Turn a document that `scan` yielded into a Document; raises FormatError for a broken one."""
    element = xml_elements.parsed(raw.data)
    if local_name(element) == "collection":  # a record is wrapped if its root has namespaces
        element = element[0]
    return bioc.document_of(_values(element), raw.size)


def _values(element: Element) -> dict[str, Any]:
    """Convert an element to the dictionaries that bioc.py reads."""
    values: dict[str, Any] = dict(element.attrib)
    infons: dict[str, list[str]] = {}
    for child in element:
        name = local_name(child)
        if name == "infon":
            infons.setdefault(child.get("key", ""), []).append(child.text or "")
        elif name in _LISTS:
            values.setdefault(_LISTS[name], []).append(_values(child))
        else:
            values[name] = "".join(child.itertext())
    if infons:
        values["infons"] = {key: "; ".join(texts) for key, texts in infons.items()}
    return values


# --------------------------------------------------------------------------------------- writing


def write(document: Document, annotations: Annotations) -> Written:
    """Write a document; a character that XML cannot hold becomes U+FFFD."""
    lost: Counter[str] = Counter()
    element = _element("document", bioc.values_of(document, annotations), lost)
    return Written({".xml": etree.tostring(element, encoding="utf-8") + b"\n"}, +lost)


def _head(day: date) -> bytes:
    """The bytes of a collection before its first document; BioC.dtd demands this order."""
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n<!DOCTYPE collection SYSTEM \"BioC.dtd\">\n"
        f"<collection><source>{bioc.SOURCE}</source><date>{day}</date><key>{bioc.KEY}</key>\n"
    ).encode()


def _element(tag: str, values: dict[str, Any], lost: Counter[str]) -> Element:
    """The inverse of `_values`; the parts are in the order of BioC's DTD."""
    element = etree.Element(tag, {k: str(values[k]) for k in _ATTRIBUTES.get(tag, ())})
    for name in _ORDER:
        value = values.get(name) if name not in _ATTRIBUTES.get(tag, ()) else None
        if name == "infons":
            for key, text in (value or {}).items():
                infon = _with_text(element, "infon", text, lost)
                infon.set("key", _NOT_XML.sub("\ufffd", key))
        elif name in _LISTS:
            element.extend(_element(name, one, lost) for one in values.get(_LISTS[name], ()))
        elif value is not None:
            _with_text(element, name, str(value), lost)
    return element


def _with_text(parent: Element, name: str, text: str, lost: Counter[str]) -> Element:
    child = etree.SubElement(parent, name)
    child.text = _NOT_XML.sub("\ufffd", text)
    lost["characters that XML does not know: U+FFFD"] += child.text != text
    return child


FORMAT = Format(
    "bioc-xml",
    (".xml",),
    scan,
    parse,
    "a document: passages, mentions, relations, events",
    recognises=_RECORDS.recognises,
    writer=Writer(
        (".xml",),
        write,
        head=_head,
        tail=b"</collection>\n",
        losses="characters that XML does not know become U+FFFD",
    ),
)
