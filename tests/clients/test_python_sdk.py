"""PyPI's xenapi, the official SDK; tests/xapi drives everything else with it."""

from collections.abc import Iterator

import pytest
import XenAPI

from emulated_pool import EmulatedPool


@pytest.fixture
def sdk(pool: EmulatedPool) -> Iterator[XenAPI.Session]:
    session = XenAPI.Session(pool.url)
    session.xenapi.login_with_password("root", "migd")
    yield session
    session.xenapi.session.logout()
    session("close")()


def test_it_lists_the_pool(sdk: XenAPI.Session) -> None:
    hosts, guests = sdk.xenapi.host.get_all_records(), sdk.xenapi.VM.get_all_records()
    assert {(guest["name_label"], hosts[guest["resident_on"]]["name_label"]) for guest in guests.values()} == {
        *((f"Control domain on host: xen{number}", f"xen{number}") for number in (1, 2, 3)),
        ("small1", "xen1"),
        ("small2", "xen2"),
        ("big", "xen1"),
    }
    assert sdk.API_version == "2.23"


def test_it_watches_a_guest_that_it_migrates_until_it_has_arrived(pool: EmulatedPool, sdk: XenAPI.Session) -> None:
    vm, target = pool.vm("small1"), pool.host("xen2")
    watch = getattr(sdk.xenapi.event, "from")
    token = watch(["vm", "task"], "", 0.0)["token"]
    task = sdk.xenapi.Async.VM.pool_migrate(vm, target, {})
    seen: dict[str, dict[str, object]] = {vm: {}, task: {}}
    for _ in range(100):
        batch = watch(["vm", "task"], token, 10.0)
        token = batch["token"]
        seen.update((event["ref"], event["snapshot"]) for event in batch["events"])
        if seen[task].get("status") == "success":
            break
    assert (seen[vm]["resident_on"], seen[vm]["current_operations"]) == (target, {})
    sdk.xenapi.task.destroy(task)


def test_it_logs_in_again_when_its_session_has_ended(pool: EmulatedPool, sdk: XenAPI.Session) -> None:
    ended = sdk.handle
    sdk.session.logout(ended)  # as a plain XML-RPC call, which the SDK takes no note of
    assert sdk.xenapi.VM.get_by_name_label("small1") == [pool.vm("small1")]
    assert sdk.handle != ended
