"""Values as XAPI writes them in XML-RPC, and calls as clients write them."""

import xmlrpc.client

import pytest

from migd_xapi.datamodel.types import Stamp
from migd_xapi.failure import Failure
from migd_xapi.wire import xml_rpc
from migd_xapi.wire.exact import ExactInt


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a<b> & \"c\" 'd'", "<value>a&lt;b&gt; &amp; &quot;c&quot; 'd'</value>"),
        ("", "<value></value>"),
        (42, "<value>42</value>"),
        (ExactInt(42), "<value><i4>42</i4></value>"),
        (True, "<value><boolean>1</boolean></value>"),
        (0.1, "<value><double>0.1</double></value>"),
        (1.0, "<value><double>1</double></value>"),
        (("a", 1), "<value><array><data><value>a</value><value>1</value></data></array></value>"),
        (
            {"k<": "v"},
            "<value><struct><member><name>k&lt;</name><value>v</value></member></struct></value>",
        ),
        (None, "<value><nil/></value>"),
        (
            Stamp("20260821T02:00:23Z"),
            "<value><dateTime.iso8601>20260821T02:00:23Z</dateTime.iso8601></value>",
        ),
    ],
)
def test_values_have_xapis_form(value: object, text: str) -> None:
    assert xml_rpc.text_of(value) == text


def test_an_answer_has_no_white_space_between_its_tags() -> None:
    assert xml_rpc.success({"a": ("x",)}) == (
        b'<?xml version="1.0"?><methodResponse><params><param><value><struct><member><name>Status</name>'
        b"<value>Success</value></member><member><name>Value</name><value><struct><member><name>a</name><value>"
        b"<array><data><value>x</value></data></array></value></member></struct></value></member></struct></value>"
        b"</param></params></methodResponse>"
    )


def test_a_failure_is_a_status_and_a_set() -> None:
    (answer,), _ = xmlrpc.client.loads(xml_rpc.failure(Failure("HANDLE_INVALID", "VM", "OpaqueRef:x")))
    assert answer == {"Status": "Failure", "ErrorDescription": ["HANDLE_INVALID", "VM", "OpaqueRef:x"]}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<value>bare</value>", "bare"),
        ("<value><string>typed</string></value>", "typed"),
        ("<value></value>", ""),
        ("<value><i4>1</i4></value>", 1),
        ("<value><i8>1</i8></value>", 1),
        ("<value><int>1</int></value>", 1),
        ("<value><boolean>1</boolean></value>", True),
        ("<value><double>.5</double></value>", 0.5),
        ("<value><array><data/></array></value>", []),
        ("<value><nil/></value>", None),
    ],
)
def test_arguments_are_read_in_every_form_that_clients_use(written: str, read: object) -> None:
    body = f"<methodCall><methodName>a.b</methodName><params><param>{written}</param></params></methodCall>"
    assert xml_rpc.read_call(body.encode()) == ("a.b", (read,))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<methodCall/>",
        b"<methodCall><params></params></methodCall>",
        b"<methodCall><methodName>a.b</methodName><params><param><value><i4>x</i4></value></param></params></methodCall>",
        b"<methodCall><methodName>a.b</methodName><params><param><value><array>",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><methodCall><methodName>&b;</methodName>',
        b"<methodResponse><fault><value><struct></struct></value></fault></methodResponse>",
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_call_is_told_from_one(body: bytes) -> None:
    with pytest.raises(xml_rpc.NotXmlRpc):
        xml_rpc.read_call(body)
