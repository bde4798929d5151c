"""Where the objects of a bucket are looked for, as Amazon's own client has it."""

import functools

import botocore.session
import pytest
from modelfleet.adapters.access import Access
from modelfleet.adapters.s3_address import (
    bucket_url,
    checked_bucket,
    checked_endpoint,
    listing_url,
    object_url,
    stated_endpoint,
    stated_region,
)
from modelfleet.errors import InvalidInput


class Sent(Exception):
    """Carries the request that would have gone out."""


def stop(request, **_):
    raise Sent(request.url)


@functools.cache
def amazons_client(region):
    """Return a client that sends nothing."""
    client = botocore.session.get_session().create_client(
        "s3", region_name=region, aws_access_key_id="id", aws_secret_access_key="secret"
    )
    client.meta.events.register("before-send.s3.*", stop)
    return client


def amazons_url(operation, *, region="eu-west-1", **parameters):
    """Return the URL that Amazon's client asks for."""
    with pytest.raises(Sent) as sent:
        getattr(amazons_client(region), operation)(**parameters)
    return str(sent.value)


@pytest.mark.parametrize("region", ["eu-west-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "us-isob-east-1"])
def test_objects_are_where_amazons_client_looks_in_every_partition(region):
    theirs = amazons_url("get_object", region=region, Bucket="models", Key="m/1/saved_model.pb")
    assert object_url(bucket_url("models", region), "m/1/saved_model.pb") == theirs


@pytest.mark.parametrize("region", ["eusc-de-east-1", "eu-isoe-west-1", "us-isof-south-1"])
def test_the_hosts_of_young_partitions_are_those_of_amazons_table(region):
    loader = botocore.session.get_session().get_component("data_loader")
    partitions = loader.load_data("partitions")["partitions"]
    suffix = next(each["outputs"]["dnsSuffix"] for each in partitions if region in each["regions"])
    assert bucket_url("models", region) == f"https://models.s3.{region}.{suffix}"


def test_every_partition_is_known():
    loader = botocore.session.get_session().get_component("data_loader")
    for partition in loader.load_data("partitions")["partitions"]:
        for region in partition["regions"]:
            if "global" not in region:
                assert bucket_url("models", region).endswith(f".{partition['outputs']['dnsSuffix']}"), region


@pytest.mark.parametrize("bucket", ["models.example.com", "Models", "my_models", "models"])
def test_a_bucket_goes_into_the_host_only_where_amazons_client_puts_it(bucket):
    theirs = amazons_url("get_object", Bucket=bucket, Key="m/1/saved_model.pb")
    assert object_url(bucket_url(bucket, "eu-west-1"), "m/1/saved_model.pb") == theirs


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "https://store.example.com/s3", "http://[::1]:9000"])
def test_a_bucket_goes_into_the_path_of_another_servers_urls(endpoint):
    url = bucket_url("models", "eu-west-1", checked_endpoint(endpoint))
    assert object_url(url, "m/1/a") == f"{endpoint}/models/m/1/a"


def test_where_the_bucket_goes_can_be_told():
    assert bucket_url("models", "eu-west-1", path_style=True) == "https://s3.eu-west-1.amazonaws.com/models"
    told = bucket_url("models", "eu-west-1", "http://store.example.com:9000", path_style=False)
    assert told == "http://models.store.example.com:9000"
    assert bucket_url("a.b", "eu-west-1", path_style=False) == "https://a.b.s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("key", ["a b", "a+b", "ü/ß", "50%", "a&b=c?d#e", "~tilde-._", "😀", "'(x)!*", ":@,;$"])
def test_keys_are_escaped_as_amazons_client_does(key):
    theirs = amazons_url("get_object", Bucket="models", Key=f"m/1/{key}")
    assert object_url(bucket_url("models", "eu-west-1"), f"m/1/{key}") == theirs


@pytest.mark.parametrize("prefix", ["", "m/", "a b/ü+%&=/"])
def test_a_listing_asks_what_amazons_client_asks(prefix):
    theirs = amazons_url(
        "list_objects_v2", Bucket="models", Prefix=prefix, EncodingType="url", ContinuationToken="1/=+"
    )
    host, _, query = theirs.partition("?")
    mine, _, asked = listing_url(bucket_url("models", "eu-west-1"), prefix, "1/=+").partition("?")
    assert mine == host
    assert set(asked.split("&")) == set(query.split("&")) - {"prefix="}


@pytest.mark.parametrize(
    ("given", "environ", "region"),
    [
        ("eu-west-1", {"AWS_REGION": "eu-west-2"}, "eu-west-1"),
        ("", {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-2"),
        ("", {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ("", {}, ""),
    ],
)
def test_the_nearest_statement_of_the_region_counts(given, environ, region):
    assert stated_region(Access(s3_region=given), environ) == region


@pytest.mark.parametrize(
    ("given", "environ", "endpoint"),
    [
        ("http://a:1", {"AWS_ENDPOINT_URL_S3": "http://b:1"}, "http://a:1"),
        ("", {"AWS_ENDPOINT_URL_S3": "http://b:1", "AWS_ENDPOINT_URL": "http://c:1"}, "http://b:1"),
        ("", {"AWS_ENDPOINT_URL": "http://c:80/"}, "http://c"),
        ("", {}, ""),
    ],
)
def test_the_nearest_statement_of_the_endpoint_counts(given, environ, endpoint):
    assert stated_endpoint(Access(s3_endpoint=given), environ) == endpoint


@pytest.mark.parametrize("region", ["evil.example.com/", "EU", "a" * 64, "-", "eu west"])
def test_a_region_never_changes_the_host_that_is_asked(region):
    with pytest.raises(InvalidInput, match="is not the name of a region"):
        stated_region(Access(s3_region=region), {})


@pytest.mark.parametrize(
    "endpoint",
    [
        "store:9000",
        "ftp://store",
        "http:///x",
        "http://store:70000",
        "http://[store",
        "http://store?x=1",
        "http://me:secret@store",
    ],
)
def test_what_is_no_endpoint_is_refused_without_showing_it(endpoint):
    with pytest.raises(InvalidInput, match="write http://host:port") as refused:
        checked_endpoint(endpoint)
    assert endpoint not in str(refused.value)


@pytest.mark.parametrize("bucket", ["", "a", "-a", "a/b", "a b", "a?b", "ü", "models@host", "x--use1-az4--x-s3"])
def test_what_names_no_usable_bucket_is_refused(bucket):
    with pytest.raises(InvalidInput):
        checked_bucket(bucket)


def test_keys_that_are_written_before_a_bucket_are_not_shown():
    with pytest.raises(InvalidInput, match="bucket 'models'") as refused:
        checked_bucket("id:s3cret@models")
    assert "s3cret" not in str(refused.value)
