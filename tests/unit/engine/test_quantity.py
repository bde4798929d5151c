from __future__ import annotations

import pytest
from modelfleet.errors import InvalidInput
from modelfleet.quantity import parse_bytes, show_bytes


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1G", 10**9),
        ("1Gi", 2**30),
        ("100Mi", 100 * 2**20),
        ("128974848", 128974848),
        (128974848, 128974848),
        ("129e6", 129 * 10**6),
        ("129M", 129 * 10**6),
        ("128974848000m", 128974848),
        ("123Mi", 128974848),
        ("1e9", 10**9),
        ("1E9", 10**9),
        (1e9, 10**9),
        ("1E", 10**18),
        ("2Ei", 2**61),
        ("3Pi", 3 * 2**50),
        ("4T", 4 * 10**12),
        ("5k", 5000),
        ("5K", 5000),
        ("5Ki", 5120),
        ("1.5Gi", 3 * 2**29),
        (".5Gi", 2**29),
        ("1.Gi", 2**30),
        ("+1Gi", 2**30),
        ("0", 0),
        ("0m", 0),
        (" 1 GiB ", 2**30),
        ("1GB", 10**9),
        ("1e18", 10**18),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_amounts_are_read_as_kubernetes_reads_them(text, amount):
    assert parse_bytes(text, "memory") == amount


@pytest.mark.parametrize(("text", "amount"), [("1.1", 2), ("0.1Ki", 103), ("123400m", 124), ("1500000u", 2)])
def test_a_part_of_a_byte_counts_as_a_whole_one(text, amount):
    assert parse_bytes(text, "memory") == amount


def test_large_amounts_are_exact():
    assert parse_bytes("7.9999999999999999Ei", "memory") == 9223372036854775693
    assert parse_bytes("9007199254740993", "memory") == 2**53 + 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not an amount"),
        ("Gi", "not an amount"),
        ("-1Gi", "not an amount"),
        ("1gi", "not an amount"),
        ("1GI", "not an amount"),
        ("1ki", "not an amount"),
        ("1e", "not an amount"),
        ("1e5Mi", "not an amount"),
        ("1.2.3", "not an amount"),
        ("1 000", "not an amount"),
        ("٣", "not an amount"),
        ("inf", "not an amount"),
        (True, "not an amount"),
        ("512m", "less than one byte ('m' means a thousandth)"),
        ("1e-3", "less than one byte"),
        ("8Ei", "more than there can be"),
        ("1e99", "more than there can be"),
        ("1e999999999", "not an amount"),
        ("9" * 5000, "not an amount"),
    ],
)
def test_anything_else_is_refused_with_the_place(text, words):
    with pytest.raises(InvalidInput) as caught:
        parse_bytes(text, "models.a.memory")
    assert caught.value.subject == "models.a.memory"
    assert words in caught.value.problem
    assert len(caught.value.one_line()) < 200


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2**30, "1 GiB"),
        (5 * 2**60, "5 EiB"),
    ],
)
def test_amounts_are_shown_short(amount, text):
    assert show_bytes(amount) == text
