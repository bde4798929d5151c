"""How sources are shown."""

from __future__ import annotations

import pytest
from modelfleet.locations import Location, shown


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("gs://b/m?x#y", "gs://b/m?x#y"),
        ("s3://b/m@1", "s3://b/m@1"),
        ("s3://key:s3cret@b/m@1?x", "s3://b/m@1?x"),
        ("/models/m", "/models/m"),
        ("https://me:s3cret@h:8/m.zip?key=s3cret#sha256=1", "https://h:8/m.zip"),
        ("ftp://me:s3cret@h/m", "ftp://h/m"),
        ("https://me:s3cret@h?key=s3cret", "https://h"),
        ("flowers", "flowers"),
    ],
)
def test_sources_are_shown_without_secrets(uri, text):
    assert shown(uri) == text
    assert uri not in repr(Location(uri))
