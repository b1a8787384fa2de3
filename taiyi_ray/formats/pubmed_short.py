"""A PubMed record cut short before an XML parser sees it, as most of it takes none.

What no field of a Document is made of is left out; MeSH headings are read as bytes. Nothing here
changes a Document: what is out of the ordinary stays as it is.

It is here for speed alone, together with `pubmed_mesh`: without both, reading is 2.4 times as fast
as pubmed_parser, with the cutting alone 2.6 times, with both 3 times, which must be reached
(`make bench-parser`; benchmarks/README.md).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from taiyi_ray.formats import pubmed_mesh
from taiyi_ray.formats.pubmed_mesh import Headings


class Short(NamedTuple):
    """A record cut short; `headings` is what stood in its MeshHeadingList, None where it stays."""

    data: bytes
    headings: Headings | None = None


# A fault in one of these is not noticed, and does no harm. A shorter element (PublicationStatus)
# would take longer to find than to parse.
_UNREAD: Final = (
    *(b"AuthorList", b"ChemicalList", b"GrantList", b"History", b"InvestigatorList"),
    *(b"DateCreated", b"DateCompleted", b"DateRevised", b"Pagination", b"ReferenceList"),
)
# These are emptied: where they stand tells whose they are.
_MESH: Final = b"MeshHeadingList"
_NOTICES: Final = b"CommentsCorrectionsList"

_NAMES: Final = (*_UNREAD, _MESH, _NOTICES)
# The look ahead is there for speed alone, as in the scanner.
_TAG = re.compile(
    rb"<(?=%b)(%b)(?:\s[^<>]*[^<>/])?>"
    % (b"|".join(sorted({name[:4] for name in _NAMES})), b"|".join(_NAMES))
)
_OF_RETRACTION = re.compile(rb"RetractionIn|&#")  # or what may be letters of it


def shortened(data: bytes) -> Short:
    """Cut a record short."""
    # Comments, CDATA or instructions may hide tags. A single byte is found far faster than two.
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
