"""What is known of an object's content from S3's headers."""

import base64

import pytest
from modelfleet.adapters.s3_content import announced_by, identity_of

MD5 = "900150983cd24fb0d6963f7d28e17f72"
CRC32C = base64.b64encode(bytes.fromhex("364b3fb7")).decode()
SHA256 = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("etag", "identity"),
    [(f'"{MD5}"', f"etag:{MD5}"), (MD5, f"etag:{MD5}"), (f'"{MD5}-2"', ""), ('"v1"', ""), ("", "")],
)
def test_the_tag_of_an_object_in_one_piece_identifies_its_content(etag, identity):
    assert identity_of(etag) == identity


@pytest.mark.parametrize(
    ("headers", "announced"),
    [
        ({}, f"md5:{MD5}"),
        ({"x-amz-server-side-encryption": "AES256"}, f"md5:{MD5}"),
        ({"x-amz-server-side-encryption": "aws:kms"}, ""),
        ({"x-amz-server-side-encryption": "aws:kms:dsse"}, ""),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, ""),
        ({"etag": f'"{MD5}-2"'}, ""),
        ({"etag": '"opaque"'}, ""),
        ({"x-amz-checksum-crc32c": CRC32C}, "crc32c:364b3fb7"),
        ({"x-amz-checksum-crc32c": CRC32C, "x-amz-checksum-type": "FULL_OBJECT"}, "crc32c:364b3fb7"),
        ({"x-amz-checksum-crc32c": CRC32C, "x-amz-checksum-type": "COMPOSITE"}, f"md5:{MD5}"),
        ({"x-amz-checksum-crc32c": f"{CRC32C}-2"}, f"md5:{MD5}"),
        ({"x-amz-checksum-crc32c": "AAA="}, f"md5:{MD5}"),
        ({"x-amz-checksum-crc32": CRC32C}, f"md5:{MD5}"),
        (
            {"x-amz-checksum-sha256": SHA256, "x-amz-server-side-encryption": "aws:kms"},
            f"sha256:{bytes(range(32)).hex()}",
        ),
    ],
)
def test_an_answer_announces_what_it_surely_knows(headers, announced):
    assert announced_by({"etag": f'"{MD5}"', **headers}) == announced
