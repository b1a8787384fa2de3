"""The MeSH headings of a PubMed record, read as bytes because an XML parser makes objects slowly.

A third of a citation is its MeshHeadingList, and most headings repeat from citation to citation:
Humans, Female, Adult, drug therapy. So the list is cut at the ends of its DescriptorNames and
QualifierNames, and the result of each piece is cached. This module exists only for speed, like
`pubmed_short`, whose docstring states what both gain.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple


class Headings(NamedTuple):
    """The MeSH headings of a record.

    Attributes:
        names: the headings as MEDLINE writes them (`Hypertension/*drug therapy`), joined.
        ids: the identifiers of their descriptors, joined.
    """

    names: str = ""
    ids: str = ""


SEPARATOR: Final = "; "

# _CUT ends a piece, and _PIECE matches one as NLM writes it: in printable ASCII and without extra
# blanks, so that an XML parser would return the same text (but for `&amp;`). The piece of a
# descriptor begins with the end of the heading before it.
_CUT: Final = b"Name>"
_END: Final = b"</MeshHeading>"
_BLANKS: Final = b" \t\r\n"
_PIECE = re.compile(
    r"[ \t\r\n]*+(?:</MeshHeading>[ \t\r\n]*+<MeshHeading>[ \t\r\n]*+<(D)escriptor|<Qualifier)"
    r'Name(?: UI="(\w*+)")?+ MajorTopicYN="([YN])"(?: Type="\w*+")?+>'
    r"([!-;=?-~]++(?: [!-;=?-~]++)*+)</(?(1)Descriptor|Qualifier)",
    re.ASCII,
)

# These limits keep the cache small, whatever is read.
_REMEMBERED: Final = 1 << 11
_LONGEST_LIST: Final = 1 << 15


def read(listed: bytes) -> Headings | None:
    """Read the content of a MeshHeadingList; None when only an XML parser can read it."""
    *pieces, behind = (_END + listed).split(_CUT)
    if len(listed) > _LONGEST_LIST or behind.strip(_BLANKS) != _END:
        return None
    try:
        added = [*map(_added, pieces)]
    except ValueError:
        return None
    names, ids = "".join([name for name, _ in added]), "".join([id_ for _, id_ in added])
    return Headings(names.removeprefix(SEPARATOR), ids.removeprefix(SEPARATOR))


@lru_cache(_REMEMBERED)
def _added(piece: bytes) -> tuple[str, str]:
    """Return what a piece adds to the names and to the ids; raises ValueError for other pieces."""
    match = _PIECE.fullmatch(piece.decode("ascii"))
    if match is None:
        raise ValueError
    descriptor, ui, major, text = match.groups()
    if "&" in text:
        if text.count("&") > text.count("&amp;"):
            raise ValueError
        text = text.replace("&amp;", "&")
    if major == "Y":
        text = "*" + text
    if not descriptor:
        return "/" + text, ""
    return SEPARATOR + text, SEPARATOR + ui if ui else ""
