"""The way to the pool: who is trusted, where the coordinator is, and what a lost session or answer leads to."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from migd_controller.config import XapiSection
from migd_controller.xapi import ORIGINATOR, Pool, PoolRefusal, PoolUnreachable
from migd_core import config
from migd_core.errors import ConfigError
from migd_xapi import certificate
from migd_xapi.settings import Settings, Tls
from scripted_pool import USERS, ServedPool, backend_of

PLAIN = Settings(users=USERS, refusal_delay_s=0.0)
SECURE = Settings(users=USERS, refusal_delay_s=0.0, tls=Tls())
Serve = Callable[[Settings], ServedPool]
Connect = Callable[..., Pool]


@pytest.fixture
def serve() -> Iterator[Serve]:
    pools: list[ServedPool] = []

    def serve(settings: Settings) -> ServedPool:
        pools.append(ServedPool(backend_of(), settings))
        return pools[-1]

    yield serve
    for pool in pools:
        pool.close()


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    pools: list[Pool] = []

    def connect(url: str, **values: Any) -> Pool:
        (tmp_path / "password").write_text("migd\n")
        section = {"username": "root", "password_file": tmp_path / "password", "timeout_s": 5.0, **values}
        pools.append(Pool(XapiSection(url=url, **section)))
        return pools[-1]

    yield connect
    for pool in pools:
        pool.close()


def sessions(served: ServedPool) -> list[Any]:
    return list(served.server.pool.db.rows("session"))


def forget_sessions(served: ServedPool) -> list[str]:
    """Let the pool lose every session; return their references."""
    known = served.server.pool.sessions
    refs = [row.ref for row in sessions(served)]
    served.do(lambda: [known.log_out(known.get(ref)) for ref in refs])
    return refs


def shown_by(served: ServedPool) -> certificate.ServerCertificate:
    shown = served.server.certificate
    assert shown is not None
    return shown


def host_names(pool: Pool) -> set[str]:
    return {record["name_label"] for record in pool.call("host.get_all_records").values()}


def at(url: str, address: str) -> str:
    return url.replace("127.0.0.1", address)


def test_a_certificate_that_a_named_authority_vouches_for_is_trusted(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    served = serve(SECURE)
    (tmp_path / "ca.pem").write_text(shown_by(served).pem)
    assert host_names(connect(served.url, ca_file=tmp_path / "ca.pem")) == {"xen0", "xen1", "xen2"}


def test_without_a_named_authority_the_systems_must_vouch_and_nothing_is_sent(serve: Serve, connect: Connect) -> None:
    served = serve(SECURE)
    with pytest.raises(PoolUnreachable, match=r"its certificate is not trusted \(self-signed certificate\); name the"):
        connect(served.url).call("host.get_all")
    assert sessions(served) == []


def test_a_certificate_for_another_address_is_not_trusted(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    pem, key_pem = certificate.self_signed("elsewhere", ["192.0.2.1"])
    (tmp_path / "ca.pem").write_bytes(pem)
    (tmp_path / "key.pem").write_bytes(key_pem)
    tls = Tls(certificate_file=tmp_path / "ca.pem", key_file=tmp_path / "key.pem")
    served = serve(msgspec.structs.replace(SECURE, tls=tls))
    with pytest.raises(PoolUnreachable, match=r"IP address mismatch, certificate is not valid for '127\.0\.0\.1'"):
        connect(served.url, ca_file=tmp_path / "ca.pem").call("host.get_all")
    # A pinned fingerprint is of that very certificate, whatever name stands in it.
    assert connect(served.url, fingerprints=(shown_by(served).sha256,)).call("host.get_all")


@pytest.mark.parametrize("written", ["as openssl prints it", "plain"])
def test_a_pinned_certificate_is_trusted(serve: Serve, connect: Connect, written: str) -> None:
    served = serve(SECURE)
    fingerprint = shown_by(served).sha256
    if written == "plain":
        fingerprint = fingerprint.replace(":", "").lower()
    assert len(host_names(connect(served.url, fingerprints=("00" * 32, fingerprint)))) == 3


def test_a_certificate_that_is_not_pinned_is_named_and_nothing_is_sent(serve: Serve, connect: Connect) -> None:
    served = serve(SECURE)
    shown = shown_by(served).sha256.replace(":", "").lower()
    with pytest.raises(PoolUnreachable, match=f"fingerprint {shown}, which is none of xapi.fingerprints"):
        connect(served.url, fingerprints=("00" * 32,)).call("host.get_all")
    assert sessions(served) == []


@pytest.mark.parametrize(
    ("url", "values", "why"),
    [
        ("http://192.0.2.1", {}, "the password would travel unencrypted to 192.0.2.1; use https://"),
        ("http://127.0.0.1", {"fingerprints": ["00" * 32]}, "there is no certificate to check over http://"),
        ("http://127.0.0.1", {"ca_file": "ca.pem"}, "there is no certificate to check over http://"),
        ("https://x", {"ca_file": "ca.pem", "fingerprints": ["00" * 32]}, "two ways to trust a certificate"),
        ("https://x", {"fingerprints": ["00"]}, "expected SHA-256 fingerprints of 64 hexadecimal digits, found '00'"),
        ("https://x", {"ca_file": "/dev/null"}, "xapi.ca_file: /dev/null cannot be used"),
        ("ftp://x", {}, "expected https://HOST, found 'ftp://x'"),
        ("https://x", {"password_file": "/nowhere"}, "xapi.password_file: /nowhere cannot be read"),
    ],
)
def test_a_way_that_is_not_safe_is_refused_at_the_start(
    tmp_path: Path, url: str, values: dict[str, Any], why: str
) -> None:
    (tmp_path / "password").write_text("migd")
    section = {"url": url, "username": "root", "password_file": str(tmp_path / "password"), **values}
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in section.items())
    with pytest.raises(ConfigError, match=why):
        Pool(config.parse(text, XapiSection, name="controller.toml"))


def test_each_thread_has_one_session_with_the_originators_name(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    pool = connect(served.url)

    def ask_twice() -> None:
        pool.call("host.get_all")
        pool.call("VM.get_all")

    threads = [threading.Thread(target=ask_twice) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row["originator"] for row in sessions(served)] == [ORIGINATOR] * 3


def test_sessions_end_with_the_controller(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    pool = connect(served.url)
    pool.call("host.get_all")
    pool.close()
    assert sessions(served) == []
    with pytest.raises(PoolUnreachable, match="the controller is stopping"):
        pool.call("host.get_all")


def test_a_session_that_the_pool_forgot_is_replaced_and_the_call_repeated(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    pool = connect(served.url)
    pool.call("host.get_all")
    (before,) = forget_sessions(served)
    assert len(pool.call("host.get_all")) == 3
    (now,) = sessions(served)
    assert now.ref != before


def test_a_call_that_makes_sense_in_its_session_only_is_not_repeated_in_another(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    pool = connect(served.url)
    for lose in (forget_sessions, lambda served: change_coordinator(served, "xen2")):
        token = pool.call("event.from", ["vm"], "", 0.0)["token"]
        lose(served)
        with pytest.raises(PoolRefusal, match="SESSION_INVALID"):
            pool.call("event.from", ["vm"], token, 0.0, in_any_session=False)


def test_an_answer_that_does_not_come_in_time_is_an_unreachable_pool(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(PoolUnreachable, match=f"{url} does not answer: no answer in time"):
            connect(url, timeout_s=0.2).call("host.get_all")


def test_a_wait_in_another_thread_ends_when_the_pool_is_closed(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    pool = connect(served.url)
    ended: list[Exception] = []
    waiting = threading.Event()

    def wait() -> None:
        try:
            token = pool.call("event.from", ["vm"], "", 0.0)["token"]
            waiting.set()
            pool.call("event.from", ["vm"], token, 60.0, wait_s=60.0)
        except PoolUnreachable as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(10)
    pool.close()
    thread.join(10)
    assert len(ended) == 1


def test_a_member_leads_to_the_coordinator(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    assert len(connect(at(served.url, "127.0.0.2")).call("host.get_all")) == 3


def change_coordinator(served: ServedPool, name: str) -> None:
    db = served.server.pool.db
    host = next(row for row in db.rows("host") if row["name_label"] == name)
    served.do(lambda: db.update(served.server.pool.row, master=host.ref))


def test_a_coordinator_that_changed_is_followed_within_the_call(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    pool = connect(served.url)
    pool.call("host.get_all")
    change_coordinator(served, "xen2")
    assert len(pool.call("host.get_all")) == 3
    change_coordinator(served, "xen1")
    assert len(pool.call("host.get_all")) == 3
    assert len({row["this_host"] for row in sessions(served)}) == 3


def test_a_password_is_not_sent_in_the_clear_because_a_host_says_so(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    member = at(served.url, "127.0.0.2")
    served.do(lambda: served.server.pool.db.update(served.server.pool.coordinator, address="192.0.2.1"))
    with pytest.raises(PoolUnreachable, match=r"would travel unencrypted to 192\.0\.2\.1; use https"):
        connect(member).call("host.get_all")


def test_a_request_to_a_former_coordinator_is_carried_out_once(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    pool = connect(served.url)
    vm, host = pool.call("VM.get_by_uuid", "guest-0"), pool.call("host.get_by_uuid", "host-1")
    change_coordinator(served, "xen2")
    pool.call("VM.pool_migrate", vm, host, {})
    assert len(served.backend.migrations) == 1


def test_when_the_configured_host_is_dead_the_others_are_asked(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    pool = connect(at(served.url, "127.0.0.9"))  # nobody is there
    with pytest.raises(PoolUnreachable, match=r"127\.0\.0\.9:\d+ does not answer: connection refused"):
        pool.call("host.get_all")
    pool.remember(["127.0.0.8", "127.0.0.2"])  # one that is dead too, and a member
    assert len(pool.call("host.get_all")) == 3


def test_when_no_host_answers_the_problem_names_the_last_coordinator(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    pool = connect(at(served.url, "127.0.0.9"))
    pool.remember(["127.0.0.7", "127.0.0.8"])
    with pytest.raises(PoolUnreachable, match=r"127\.0\.0\.9:\d+ does not answer: .*; nor does any of 2 other hosts"):
        pool.call("host.get_all")


def test_hosts_that_name_each_other_as_the_coordinator_are_told(serve: Serve, connect: Connect) -> None:
    served = serve(PLAIN)
    db = served.server.pool.db
    member = next(row for row in db.rows("host") if row["address"] == "127.0.0.2")
    served.do(lambda: db.update(served.server.pool.coordinator, address="127.0.0.2"))
    with pytest.raises(PoolUnreachable, match="its hosts do not agree on which of them is the coordinator"):
        connect(at(served.url, member["address"])).call("host.get_all")


def test_a_wrong_password_is_not_tried_at_every_host(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    served = serve(PLAIN)
    pool = connect(served.url)
    pool.remember(["127.0.0.2", "127.0.0.3"])
    (tmp_path / "password").write_text("wrong")
    with pytest.raises(PoolRefusal) as caught:
        pool.call("host.get_all")
    assert caught.value.code == "SESSION_AUTHENTICATION_FAILED"


def test_the_pools_word_comes_with_its_code_and_parameters(serve: Serve, connect: Connect) -> None:
    with pytest.raises(PoolRefusal) as caught:
        connect(serve(PLAIN).url).call("VM.get_by_uuid", "nobody")
    assert (caught.value.code, caught.value.params) == ("UUID_INVALID", ["VM", "nobody"])
    assert str(caught.value) == "UUID_INVALID(VM, nobody)"


def test_any_host_is_asked_for_a_page_in_the_session_and_over_the_trust_of_all_calls(
    serve: Serve, connect: Connect
) -> None:
    served = serve(SECURE)
    pool = connect(served.url, fingerprints=(shown_by(served).sha256,))
    # Without a start this page is refused, but not before the session was found right.
    for address in ("127.0.0.1", "127.0.0.2"):
        url = at(served.url, address)
        with pytest.raises(PoolUnreachable, match=f"{url}/rrd_updates answers with HTTP status 400"):
            pool.fetch(address, "/rrd_updates?host=true")
        forget_sessions(served)
    stranger = connect(served.url, fingerprints=("00" * 32,))
    with pytest.raises(PoolUnreachable, match="which is none of xapi"):
        stranger.fetch("127.0.0.1", "/rrd_updates?host=true")
