"""Where messages may be sent."""

from ipaddress import ip_network

import pytest

from shared.webhooks.target import check_url, is_allowed

PRIVATE = ip_network("10.1.0.0/16")


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"]
)
def test_public_addresses_with_tls(address: str) -> None:
    assert is_allowed(address, (), encrypted=True)
    assert not is_allowed(address, (), encrypted=False)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.0", "::1", "::"),  # noqa: S104
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200", "fd00:ec2::254"),
        *("169.254.169.254", "fe80::1", "fe80::1%eth0", "168.63.129.16", "192.0.0.192"),
        *("224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "::7f00:1"),
        *("fec0::1", "3fff::1", "64:ff9b:1:a00:0:100:808:808"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_allowed(address, (), encrypted=True)
    assert not is_allowed(address, (PRIVATE,), encrypted=True)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_named_network_with_and_without_tls(address: str) -> None:
    assert is_allowed(address, (PRIVATE,), encrypted=True)
    assert is_allowed(address, (PRIVATE,), encrypted=False)
    assert not is_allowed("10.2.2.3", (PRIVATE,), encrypted=True)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://example.com/callfold?x=1", None),
        ("https://example.com:65535?x", None),
        ("https://93.184.215.14/", None),
        ("https://10.1.2.3/", "lead to a public address"),
        ("https://[2606:2800::1]/", "be a URL such as"),
        ("https://exa_mple.com/", "be a URL such as"),
        ("http://example.com/", "begin with https://"),
        ("ftp://example.com/", "be a URL such as"),
        ("https:///path", "be a URL such as"),
        ("https://example.com:99999/", "be a URL such as"),
        ("https://exa mple.com/", "be a URL such as"),
        ("https://example.com/\n", "be a URL such as"),
        ("https://user:password@example.com/", "without a "),
        ("https://example.com/#part", "a fragment"),
        ("https://example.com/" + "x" * 2_000, "at most 2,000"),
    ],
)
def test_urls(url: str, rule: str | None) -> None:
    if rule is None:
        assert check_url(url, ()) == url
    else:
        with pytest.raises(ValueError, match=rule):
            check_url(url, ())


def test_plain_http_where_an_operator_has_named_networks() -> None:
    for url in ("http://10.1.2.3/", "http://internal.example.com/", "https://93.184.215.14/"):
        assert check_url(url, (PRIVATE,)) == url
    for url in (
        "http://93.184.215.14/",
        "http://10.2.2.3/",
        "https://127.0.0.1/",
        "https://169.254.169.254/",
    ):
        with pytest.raises(ValueError, match="lead to a public address with https://"):
            check_url(url, (PRIVATE,))
