"""Pages of listings and errors, as stores write them."""

import pytest
from modelfleet.adapters.s3_xml import Fault, Listed, fault_of, page_of
from modelfleet.errors import SourceUnavailable

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
ENTRY = "<Contents><Key>m/1/a</Key><ETag>&quot;0123&quot;</ETag><Size>7</Size></Contents>"


def listing(inner, namespace=NAMESPACE):
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult {namespace}>{inner}</ListBucketResult>'.encode()


@pytest.mark.parametrize("namespace", [NAMESPACE, ""])
def test_a_page_tells_keys_and_where_the_next_one_begins(namespace):
    body = f"{ENTRY}<IsTruncated>true</IsTruncated><NextContinuationToken>1+/=</NextContinuationToken>"
    page = page_of(listing(body, namespace), "bucket b")
    assert page.keys == (Listed("m/1/a", 7, '"0123"'),)
    assert page.token == "1+/="


def test_an_empty_bucket_has_no_keys_and_no_further_page():
    page = page_of(listing("<IsTruncated>false</IsTruncated><KeyCount>0</KeyCount>"), "bucket b")
    assert page.keys == ()
    assert page.token == ""


@pytest.mark.parametrize(
    ("written", "key"),
    [("a+b%2B%25", "a b+%"), ("%C3%BC", "ü"), ("%0A%00", "\n\0"), ("a/b", "a/b"), ("%FF", "�")],
)
def test_keys_are_decoded_where_the_store_says_that_it_encoded_them(written, key):
    entry = ENTRY.replace("m/1/a", written)
    assert page_of(listing(f"<EncodingType>url</EncodingType>{entry}"), "bucket b").keys[0].key == key
    assert page_of(listing(entry), "bucket b").keys[0].key == written


def test_the_blanks_of_a_key_are_a_part_of_it():
    assert page_of(listing(ENTRY.replace("m/1/a", " a ")), "bucket b").keys[0].key == " a "


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Please log in</body></html>",
        listing(ENTRY)[:-9],
        b"\xff\xfe" + listing(ENTRY).decode().encode("utf-16-le"),
        listing(ENTRY.replace("<Size>7</Size>", "")),
        listing(ENTRY.replace("7", "-7")),
        listing(ENTRY.replace("7", "many")),
        listing(ENTRY.replace("<Key>m/1/a</Key>", "")),
        listing(ENTRY.replace("<ETag>&quot;0123&quot;</ETag>", "")),
        listing(ENTRY.replace("0123", "01\n23")),
        listing(ENTRY.replace("0123", "ü")),
        listing("<IsTruncated>true</IsTruncated>"),
        b'<!DOCTYPE x [<!ENTITY e "boom">]>' + listing(ENTRY.replace("m/1/a", "&e;")).partition(b"\n")[2],
    ],
)
def test_what_is_not_a_whole_listing_is_not_taken_for_one(body):
    with pytest.raises(SourceUnavailable) as refused:
        page_of(body, "bucket b")
    assert refused.value.subject == "bucket b"
    assert "\n" not in str(refused.value)


def test_an_error_tells_code_words_and_region():
    body = (
        b"<?xml version='1.0'?><Error><Code>AuthorizationHeaderMalformed</Code><Message>The region 'us-east-1' is\n"
        b" wrong; expecting 'eu-west-1'.</Message><Region>eu-west-1</Region><RequestId>4</RequestId></Error>"
    )
    words = "The region 'us-east-1' is wrong; expecting 'eu-west-1'"
    assert fault_of(body) == Fault("AuthorizationHeaderMalformed", words, "eu-west-1")


def test_a_region_that_would_lead_elsewhere_is_not_believed():
    assert fault_of(b"<Error><Code>X</Code><Region>evil.example.com/</Region></Error>") == Fault("X")


@pytest.mark.parametrize("body", [b"", b"Bad Gateway", b"<html></html>", b"<!DOCTYPE html><html></html>", b"\xff"])
def test_an_error_of_somebody_else_tells_nothing(body):
    assert fault_of(body) == Fault()
