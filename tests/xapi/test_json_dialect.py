"""JSON-RPC 1.0 and 2.0, over the socket."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest


def post(url: str, body: object, *, path: str = "/jsonrpc") -> tuple[str, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data=data), timeout=10) as answer:
        return answer.headers["Content-Type"], json.loads(answer.read())


def call(url: str, method: str, *params: object) -> Any:
    content_type, answer = post(url, {"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    assert content_type == "application/json"
    assert answer.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
    return answer.get("result", answer.get("error"))


def test_version_2_has_either_a_result_or_an_error(pool: Any) -> None:
    session = call(pool.url, "session.login_with_password", "root", "migd")
    vm = call(pool.url, "VM.get_by_uuid", session, "guest-0")
    record = call(pool.url, "VM.get_record", session, vm)
    assert (record["VCPUs_max"], record["memory_static_max"], record["is_a_template"]) == (2, 2 << 30, False)
    assert record["snapshot_time"] == "19700101T00:00:00Z"
    assert record["HVM_shadow_multiplier"] == 1.0
    assert call(pool.url, "VM.get_record", session, "OpaqueRef:x") == {
        "code": 1,
        "message": "HANDLE_INVALID",
        "data": ["VM", "OpaqueRef:x"],
    }
    counts = call(pool.url, "event.from", session, ["vm"], "", 1)["valid_ref_counts"]
    assert counts["vm"] == 7
    assert "system.listMethods" in call(pool.url, "system.listMethods")


def test_version_1_has_both(pool: Any) -> None:
    _, answer = post(pool.url, {"id": "a", "method": "session.login_with_password", "params": ["root", "migd"]})
    assert (answer["error"], answer["id"], answer["result"].startswith("OpaqueRef:")) == (None, "a", True)
    _, answer = post(pool.url, {"id": "b", "method": "VM.get_all", "params": ["OpaqueRef:x"]})
    assert answer == {"result": None, "error": ["SESSION_INVALID", "OpaqueRef:x"], "id": "b"}


def test_a_member_names_the_coordinator_in_both_versions(pool: Any) -> None:
    url = pool.url.replace("127.0.0.1", "127.0.0.3")
    assert call(url, "session.login_with_password", "root", "migd") == {
        "code": 1,
        "message": "HOST_IS_SLAVE",
        "data": ["127.0.0.1"],
    }
    _, answer = post(url, {"id": 1, "method": "VM.get_all", "params": ["OpaqueRef:x"]})
    assert answer == {"result": None, "error": ["HOST_IS_SLAVE", "127.0.0.1"], "id": 1}


def test_text_of_any_script_goes_through_both_dialects_unharmed(pool: Any, session: Any) -> None:
    name = 'Größe <&> " \u2028 \U0001f600 \t'
    vm = session.xenapi.VM.get_by_uuid("guest-0")
    session.xenapi.VM.set_name_label(vm, name)
    assert session.xenapi.VM.get_name_label(vm) == name
    assert call(pool.url, "VM.get_name_label", session._session, vm) == name


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"method":"a.b","params":[]}', b'{"method":1,"params":[],"id":1}', b"[" * 10000, b"\xff"],
)
def test_what_is_no_call_is_a_server_error(pool: Any, body: bytes) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(pool.url, body)
    with caught.value as answer:
        assert answer.code == 500
