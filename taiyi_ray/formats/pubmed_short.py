"""A PubMed record cut short before an XML parser sees it, as most of it takes none.

What no field of a Document is made of is left out; MeSH headings are read as bytes. Nothing here
changes a Document: what is out of the ordinary stays as it is.
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


_MESH: Final = b"MeshHeadingList"
# A fault in one of these is not noticed, and does no harm. A shorter element (PublicationStatus)
# would take longer to find than to parse.
_UNREAD: Final = (
    *(b"AuthorList", b"ChemicalList", b"GrantList", b"History", b"InvestigatorList"),
    *(b"DateCreated", b"DateCompleted", b"DateRevised", b"Pagination", b"ReferenceList"),
)
# The look ahead is there for speed alone, as in the scanner.
_TAG = re.compile(
    rb"<(?=%b)(%b)(?:\s[^<>]*[^<>/])?>"
    % (b"|".join(sorted({name[:4] for name in (*_UNREAD, _MESH)})), b"|".join((*_UNREAD, _MESH)))
)


def shortened(data: bytes) -> Short:
    """Cut a record short."""
    # Comments, CDATA or instructions may hide tags. A single byte is found far faster than two.
    if (b"!" in data and b"<!" in data) or (b"?" in data and b"<?" in data):
        return Short(data)
    kept: list[bytes] = []
    headings: Headings | None = None
    at = look_from = 0
    while tag := _TAG.search(data, look_from):
        inside, end_tag = tag.end(), b"</%b>" % tag[1]
        end = data.find(end_tag, inside)
        if end < 0:
            break
        look_from = end + len(end_tag)
        if tag[1] != _MESH:
            kept.append(data[at : tag.start()])
            at = look_from
        elif (headings := pubmed_mesh.read(data[inside:end])) is not None:
            kept.append(data[at:inside])  # it stays, empty: where it stands tells whose it is
            at = end
    short = b"".join(kept) + data[at:]
    if short.count(b"<" + _MESH) > 1:
        return Short(data)
    return Short(short, headings)
