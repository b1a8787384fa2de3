"""MeSH headings read as bytes; test_pubmed_short.py compares with what an XML parser finds."""

from __future__ import annotations

import pytest

from taiyi_ray.formats import pubmed_mesh
from taiyi_ray.formats.pubmed_mesh import Headings, read

LISTED = b"""
    <MeshHeading>
      <DescriptorName UI="D006973" MajorTopicYN="N">Hypertension</DescriptorName>
      <QualifierName UI="Q000188" MajorTopicYN="Y">drug therapy</QualifierName>
      <QualifierName MajorTopicYN="N">administration &amp; dosage</QualifierName>
    </MeshHeading>
    <MeshHeading><DescriptorName MajorTopicYN="Y">Rats, Wistar</DescriptorName></MeshHeading>
    <MeshHeading>
      <DescriptorName UI="D002681" MajorTopicYN="N" Type="Geographic">China</DescriptorName>
    </MeshHeading>
"""
NAMES = "Hypertension/*drug therapy/administration & dosage; *Rats, Wistar; China"


def test_a_list() -> None:
    assert read(LISTED) == Headings(NAMES, "D006973; D002681")
    assert read(LISTED.replace(b"\n", b"\r\n")) == read(LISTED)
    assert read(b"") == read(b"\n  ") == Headings("", "")


@pytest.mark.parametrize(
    ("part", "odd"),
    [
        (b"China", b" China"),
        (b"China", b"South  China"),
        (b"China", "Çhina".encode()),
        (b"China", b"<i>China</i>"),
        (b"China", b""),
        (b"China", b"A&B"),
        (b"China", b"&#65;"),
        (b"China", b"]]>"),
        (b"China", b"\x00"),
        (b'"D002681"', b"'D002681'"),
        (b'"D002681"', b'"D&amp;"'),
        (b' UI="D002681"', b' UI="D002681" UI="D002681"'),
        (b"China</DescriptorName>", b"China</QualifierName>"),
        (b"China</DescriptorName>", b"China</DescriptorName >"),
        (b"China</DescriptorName>", b"China</DescriptorName></MeshHeading>"),
        (b"<MeshHeading>", b"<Heading>"),
        (b"</MeshHeading>", b""),
        (b"Hypertension</DescriptorName>", b"A</DescriptorName></MeshHeading><MeshHeading>"),
    ],
)
def test_what_is_odd_is_left_to_a_parser(part: bytes, odd: bytes) -> None:
    assert part in LISTED
    assert read(LISTED.replace(part, odd)) is None


def test_what_is_remembered_stays_small() -> None:
    assert read(LISTED * 100) is None  # too long a list
    for number in range(5_000):
        assert read(LISTED.replace(b"China", b"China %d" % number)) is not None
    assert pubmed_mesh._added.cache_info().currsize <= 2048
