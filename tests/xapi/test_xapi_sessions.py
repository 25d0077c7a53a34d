"""Logging in, and what the server makes of calls that are wrong in themselves."""

import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Callable
from typing import Any

import pytest
import XenAPI


def failure(function: Callable[..., Any], *arguments: Any) -> list[str]:
    with pytest.raises(XenAPI.Failure) as caught:
        function(*arguments)
    return list(caught.value.details)


def test_a_wrong_password_and_a_missing_role_are_told_apart(pool: Any) -> None:
    session = XenAPI.Session(pool.url)
    login = session.xenapi.login_with_password
    assert failure(login, "root", "wrong")[:2] == ["SESSION_AUTHENTICATION_FAILED", "root"]
    assert failure(login, "unknown", "")[:2] == ["SESSION_AUTHENTICATION_FAILED", "unknown"]
    assert failure(login, "nobody", "migd")[:2] == ["SESSION_AUTHORIZATION_FAILED", "nobody"]
    session("close")()


def test_a_session_ends_with_its_logout(pool: Any, session: XenAPI.Session) -> None:
    ref = session._session
    session.xenapi.session.logout()
    with xmlrpc.client.ServerProxy(pool.url, allow_none=True) as server:
        answer: Any = server.VM.get_all(ref)
        assert answer["ErrorDescription"] == ["SESSION_INVALID", ref]
        answer = server.Async.VM.get_all(ref)
        assert answer["ErrorDescription"] == ["Fault", "No async mode for this operation (rpc: Async.VM.get_all)"]


@pytest.mark.parametrize(
    ("method", "arguments", "description"),
    [
        ("VM.fly", (), ["MESSAGE_METHOD_UNKNOWN", "VM.fly"]),
        ("Async.VM.fly", (), ["MESSAGE_METHOD_UNKNOWN", "VM.fly"]),
        ("VM.get_record", (), ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_record", "2", "1"]),
        ("VM.get_record", ("OpaqueRef:x",), ["HANDLE_INVALID", "VM", "OpaqueRef:x"]),
        ("VM.get_by_uuid", ("x",), ["UUID_INVALID", "VM", "x"]),
        ("VM.get_by_uuid", (["x"],), ["FIELD_TYPE_ERROR", "uuid"]),
        ("event.from", (["vm"], "garbage", 0.0), ["EVENT_FROM_TOKEN_PARSE_FAILURE", "garbage"]),
        ("event.from", (["/"], "", 0.0), ["EVENT_SUBSCRIPTION_PARSE_FAILURE", "/"]),
    ],
)
def test_a_wrong_call_names_what_is_wrong(
    session: XenAPI.Session, method: str, arguments: tuple[Any, ...], description: list[str]
) -> None:
    assert failure(session.xenapi_request, method, arguments) == description


def test_roles_are_checked_inside_the_call(login: Callable[..., XenAPI.Session]) -> None:
    session = login("operator")
    vm = session.xenapi.VM.get_by_uuid("guest-0")
    session.xenapi.VM.add_tags(vm, "mine")
    assert failure(session.xenapi.VM.set_name_label, vm, "x") == [
        "RBAC_PERMISSION_DENIED",
        "VM.set_name_label",
        "No permission in user session. (Roles with this permission: pool-admin, pool-operator, vm-power-admin, vm-admin)",
    ]
    task = session.xenapi.Async.VM.pool_migrate(vm, session.xenapi.VM.get_resident_on(vm), {})
    record = finished(session, task)
    assert (record["status"], record["error_info"][:2]) == (
        "failure",
        ["RBAC_PERMISSION_DENIED", "VM.pool_migrate"],
    )


def test_a_session_knows_its_host_and_user(session: XenAPI.Session) -> None:
    own = session._session
    assert session.xenapi.session.get_this_host(own) == session.xenapi.host.get_by_uuid("host-0")
    assert session.xenapi.session.get_this_user(own) == "OpaqueRef:NULL"


def test_the_users_of_the_directory_are_listed_and_logged_out(login: Callable[..., XenAPI.Session]) -> None:
    root, operator = login(), login("operator")
    (subject,) = root.xenapi.session.get_all_subject_identifiers()
    assert subject == operator.xenapi.session.get_auth_user_sid(operator._session)
    root.xenapi.session.logout_subject_identifier("")
    root.xenapi.session.logout_subject_identifier(subject)
    assert failure(root.xenapi.session.get_record, operator._session)[0] == "HANDLE_INVALID"
    assert root.xenapi.session.get_all_subject_identifiers() == []


def test_a_task_of_another_user_is_neither_cancelled_nor_destroyed(login: Callable[..., XenAPI.Session]) -> None:
    root, operator = login(), login("operator")
    task = root.xenapi.task.create("mine", "")
    for end in (operator.xenapi.task.cancel, operator.xenapi.task.destroy):
        assert failure(end, task)[:2] == ["RBAC_PERMISSION_DENIED", "task.destroy/any"]
    own = operator.xenapi.task.create("mine", "")
    for user in (operator, root):
        user.xenapi.task.cancel(own)
    root.xenapi.task.set_status(own, "success")
    root.xenapi.task.destroy(own)


def finished(session: XenAPI.Session, task: str) -> dict[str, Any]:
    token = ""
    for _ in range(100):
        batch = getattr(session.xenapi.event, "from")([f"task/{task}"], token, 5.0)
        token = batch["token"]
        for event in batch["events"]:
            if event["snapshot"]["status"] != "pending":
                return dict(event["snapshot"])
    raise AssertionError("the task did not end")


def test_a_member_names_the_coordinator(pool: Any) -> None:
    member = XenAPI.Session(pool.url.replace("127.0.0.1", "127.0.0.2"))
    assert failure(member.xenapi.login_with_password, "root", "migd") == ["HOST_IS_SLAVE", "127.0.0.1"]
    member("close")()


def test_what_is_no_call_is_a_server_error_in_html(pool: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(pool.url, data=b"garbage"), timeout=5)
    with caught.value as answer:
        assert (answer.code, answer.headers.get_content_type()) == (500, "text/html")


def test_answers_have_the_bare_content_type(pool: Any) -> None:
    body = xmlrpc.client.dumps((), "system.listMethods").encode()
    with urllib.request.urlopen(urllib.request.Request(pool.url + "/xmlrpc", data=body), timeout=5) as answer:
        assert answer.headers["Content-Type"] == "text/xml"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        (methods,), _ = xmlrpc.client.loads(answer.read())
    assert {"VM.get_record", "Async.VM.pool_migrate", "event.from", "system.listMethods"} <= set(methods)


def test_fields_are_written_by_their_generic_methods(session: XenAPI.Session) -> None:
    vm = session.xenapi.VM.get_by_name_label("rank0")[0]
    api = session.xenapi.VM
    api.set_name_label(vm, "solver <0>")
    api.add_to_other_config(vm, "key", "value")
    assert failure(api.add_to_other_config, vm, "key", "other") == [
        "MAP_DUPLICATE_KEY",
        "VM",
        "other_config",
        vm,
        "key",
    ]
    api.remove_from_other_config(vm, "absent")
    api.add_tags(vm, "a")
    api.add_tags(vm, "b")
    api.remove_tags(vm, "a")
    record = api.get_record(vm)
    assert (record["name_label"], record["other_config"], record["tags"]) == ("solver <0>", {"key": "value"}, ["b"])


def test_a_blocked_operation_leaves_the_allowed_ones(session: XenAPI.Session) -> None:
    vm = session.xenapi.VM.get_by_uuid("guest-0")
    assert "pool_migrate" in session.xenapi.VM.get_allowed_operations(vm)
    session.xenapi.VM.add_to_blocked_operations(vm, "pool_migrate", "pinned")
    assert "pool_migrate" not in session.xenapi.VM.get_allowed_operations(vm)
    assert failure(session.xenapi.VM.assert_operation_valid, vm, "pool_migrate") == ["OPERATION_BLOCKED", vm, "pinned"]
