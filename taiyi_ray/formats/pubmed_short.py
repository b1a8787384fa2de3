"""A PubMed record is cut short before the XML parser reads it, because most of it is not needed.

Elements that no field of a Document is made from are cut out, and MeSH headings are read as bytes.
The Document stays the same: an element that is written in an unusual way is not cut.

This module and `pubmed_mesh` exist only for speed. Without both, reading is 2.4 times as fast as
pubmed_parser; with the cutting alone 2.6 times; with both 3 times, which is required
(`make bench-parser`; benchmarks/README.md).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from taiyi_ray.formats import pubmed_mesh
from taiyi_ray.formats.pubmed_mesh import Headings


class Short(NamedTuple):
    """A record that was cut short.

    Attributes:
        data: the bytes that remain.
        headings: the headings that were cut out; None if the MeshHeadingList remains.
    """

    data: bytes
    headings: Headings | None = None


# A fault inside one of these is not noticed, and does no harm. Finding a shorter element (such as
# PublicationStatus) would take longer than parsing it.
_UNREAD: Final = (
    *(b"AuthorList", b"ChemicalList", b"GrantList", b"History", b"InvestigatorList"),
    *(b"DateCreated", b"DateCompleted", b"DateRevised", b"Pagination", b"ReferenceList"),
)
# These are emptied, not removed: their position tells which element they belong to.
_MESH: Final = b"MeshHeadingList"
_NOTICES: Final = b"CommentsCorrectionsList"

_NAMES: Final = (*_UNREAD, _MESH, _NOTICES)
# The look-ahead only saves time, as in the scanner.
_TAG = re.compile(
    rb"<(?=%b)(%b)(?:\s[^<>]*[^<>/])?>"
    % (b"|".join(sorted({name[:4] for name in _NAMES})), b"|".join(_NAMES))
)
_OF_RETRACTION = re.compile(rb"RetractionIn|&#")  # `&#`: a reference may stand for its letters


def shortened(data: bytes) -> Short:
    """Cut a record short."""
    # Comments, CDATA or instructions may hide tags. Searching one byte first is far faster.
    if (b"!" in data and b"<!" in data) or (b"?" in data and b"<?" in data):
        return Short(data)
    kept: list[bytes] = []
    headings: Headings | None = None
    at = look_from = 0
    while tag := _TAG.search(data, look_from):
        name, begin, end_tag = tag[1], tag.end(), b"</%b>" % tag[1]
        end = data.find(end_tag, begin)
        if end < 0:
            break
        look_from = end + len(end_tag)
        if name == _MESH:
            headings = pubmed_mesh.read(data[begin:end])
            if headings is None:
                continue
        elif name == _NOTICES:
            if _OF_RETRACTION.search(data, begin, end):
                continue
        else:
            begin, end = tag.start(), look_from
        kept.append(data[at:begin])
        at = end
    short = b"".join(kept) + data[at:]
    if short.count(b"<" + _MESH) > 1:
        return Short(data)
    return Short(short, headings)
