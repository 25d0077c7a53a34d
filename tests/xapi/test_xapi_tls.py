"""The pool over TLS: with a certificate of its own, or a given one, to clients that verify it."""

import hashlib
import json
import ssl
import urllib.request
import xmlrpc.client
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import XenAPI

from migd_core.errors import ConfigError
from migd_xapi import certificate
from migd_xapi.server import Server
from migd_xapi.settings import Settings, Tls
from scripted_pool import USERS, ServedPool, backend_of

Serve = Callable[[Settings], ServedPool]


def settings(tls: Tls | None) -> Settings:
    return Settings(users=USERS, refusal_delay_s=0.0, tls=tls)


def shown_by(pool: ServedPool) -> certificate.ServerCertificate:
    shown: certificate.ServerCertificate | None = pool.server.certificate
    assert shown is not None
    return shown


def trusting(pool: ServedPool) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=shown_by(pool).pem)


def call_json(url: str, context: ssl.SSLContext, method: str, *params: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(f"{url}/jsonrpc", data=body)
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        return json.loads(answer.read())


def test_the_official_sdk_verifies_the_certificate_that_the_pool_made(serve: Serve) -> None:
    pool = serve(settings(Tls()))
    assert pool.url.startswith("https://127.0.0.1:")
    transport = xmlrpc.client.SafeTransport(context=trusting(pool))
    session = XenAPI.Session(pool.url, transport=transport)
    session.xenapi.login_with_password("root", "migd")
    assert len(session.xenapi.host.get_all()) == 3
    transport.close()


def test_a_member_shows_the_certificate_at_its_own_address_and_names_the_coordinator(serve: Serve) -> None:
    pool = serve(settings(Tls()))
    for member in ("127.0.0.2", "127.0.0.3"):
        url = pool.url.replace("127.0.0.1", member)
        answer = call_json(url, trusting(pool), "session.login_with_password", "root", "migd")
        assert answer["error"] == {"code": 1, "message": "HOST_IS_SLAVE", "data": ["127.0.0.1"]}


def test_a_client_that_does_not_trust_the_certificate_goes_and_the_pool_goes_on(serve: Serve) -> None:
    pool = serve(settings(Tls()))
    session = XenAPI.Session(pool.url)
    with pytest.raises(ssl.SSLCertVerificationError):
        session.xenapi.login_with_password("root", "migd")
    session("close")()
    assert "result" in call_json(pool.url, trusting(pool), "system.listMethods")


def test_the_fingerprint_is_that_of_the_certificate_on_the_wire(serve: Serve) -> None:
    pool = serve(settings(Tls()))
    port = int(pool.url.rpartition(":")[2])
    on_the_wire = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))
    assert shown_by(pool).sha256.replace(":", "").lower() == hashlib.sha256(on_the_wire).hexdigest()


def test_a_given_certificate_is_the_one_that_is_shown(serve: Serve, tmp_path: Path) -> None:
    certificate_file, key_file = _files(tmp_path, "given")
    pool = serve(settings(Tls(certificate_file=certificate_file, key_file=key_file)))
    context = ssl.create_default_context(cafile=str(certificate_file))
    assert "result" in call_json(pool.url, context, "system.listMethods")


@pytest.mark.parametrize("spoil", ["key of another", "no file", "no certificate"])
async def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, spoil: str) -> None:
    certificate_file, key_file = _files(tmp_path, "one")
    if spoil == "key of another":
        _, key_file = _files(tmp_path, "other")
    elif spoil == "no file":
        key_file.unlink()
    else:
        certificate_file.write_text("garbage")
    with pytest.raises(ConfigError, match=r"one\.pem and key .*\.key cannot be used: .*; expected PEM files"):
        await Server(backend_of(), "test", settings(Tls(certificate_file=certificate_file, key_file=key_file))).start(
            "127.0.0.1", 0
        )


async def test_plain_http_is_served_on_loopback_only() -> None:
    backend = backend_of(hosts=2)
    backend.host_list[1] = replace(backend.host_list[1], address="192.0.2.1")
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 is none.*--tls"):
        await Server(backend, "test", settings(None)).start("127.0.0.1", 0)


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    pem, key_pem = certificate.self_signed(name, ["127.0.0.1"])
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(pem)
    key_file.write_bytes(key_pem)
    return certificate_file, key_file
