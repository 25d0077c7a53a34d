"""TLS on the API's listener, with certificates that expire, renew or are wrong, and `migctl` that meets them."""

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import time
from pathlib import Path

import pytest
from certificates import pair
from served import LOOPBACK, OverTcp

from migd_controller import daemon
from migd_controller.config import ControllerConfig, HttpSection
from migd_controller.events import InventoryChanged, Paused
from migd_controller.http import listener, places
from migd_controller.http.certificate import Certificate
from migd_core.api import Role
from migd_core.config import convert
from migd_core.errors import ConfigError, MigdError

LIMIT_S = 20.0


async def migctl(*arguments: str) -> tuple[int, str, str]:
    """Run `migctl` as a process of its own; return its exit code, output and errors."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MIGD_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "migd_cli",
        *arguments,
        env={**variables, "NO_COLOR": "1", "COLUMNS": "400"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30.0)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def token_file(folder: Path, token: str) -> str:
    """Write a token as its owner keeps it."""
    file = folder / "token"
    file.write_text(token + "\n")
    file.chmod(0o600)
    return str(file)


async def test_migctl_asks_over_tls_with_a_token(tmp_path: Path) -> None:
    keys = pair(tmp_path)
    served = OverTcp(tmp_path, keys.section)
    async with served.answering():
        assert served.url.startswith("https://127.0.0.1:")
        mine = token_file(tmp_path, served.token(Role.VIEWER))
        over_tcp = ("--url", served.url, "--token-file", mine, "--ca-file", str(keys.certificate))
        code, out, err = await migctl("hosts", *over_tcp)
        assert (code, err) == (0, "")
        assert [line.split()[0] for line in out.splitlines()] == ["HOST", "a", "b"]
        code, _, err = await migctl(*over_tcp, "pause")
        assert (code, err[:53]) == (1, "migctl: POST /v1/pause needs the role operator, and t")
        code, _, err = await migctl("hosts", *over_tcp[:4])
        assert code == 3
        assert "is not vouched for: self-signed certificate; name who vouches for it with --ca-file" in err
        served.service.tokens.revoke("the-viewer")
        code, _, err = await migctl("hosts", *over_tcp)
        assert (code, err[:60]) == (1, "migctl: the token is not one of this controller, or it was r")


async def test_migctl_watches_an_evacuation_over_tls(tmp_path: Path) -> None:
    """A command that asks more than once asks the same controller each time."""
    keys = pair(tmp_path)
    served = OverTcp(tmp_path, keys.section)
    async with served.answering():
        mine = token_file(tmp_path, served.token(Role.OPERATOR))
        over_tcp = ("--url", served.url, "--token-file", mine, "--ca-file", str(keys.certificate))
        nobody = ("--socket", str(tmp_path / "nobody.sock"))
        watching = asyncio.create_task(migctl("evacuate", "a", *nobody, *over_tcp))
        async with asyncio.timeout(LIMIT_S):
            while not served.cluster.core.memory.maintenance:  # noqa: ASYNC110 - the other process asks for it
                await asyncio.sleep(0.05)
        served.cluster.tell(InventoryChanged(gone=("hog", "rank0", "rank1")))
        code, out, err = await watching
        assert (code, err) == (0, "")
        assert out.splitlines()[-1].startswith("a is empty")


async def test_a_certificate_that_expired_is_told_by_migctl_and_by_the_controller(tmp_path: Path) -> None:
    keys = pair(tmp_path, days_left=-2.0)
    served = OverTcp(tmp_path, keys.section)
    async with served.answering():
        mine = token_file(tmp_path, served.token(Role.VIEWER))
        over_tcp = ("--url", served.url, "--token-file", mine, "--ca-file", str(keys.certificate))
        code, _, err = await migctl("status", *over_tcp)
        assert code == 3
        assert f"the certificate of {served.url} has expired; renew the one in http.certificate_file" in err
        code, out, _ = await migctl("status", "--socket", str(served.config.socket))
        assert code == 0
        assert f"over TCP   the certificate {keys.certificate} expired 2 d ago and browsers refuse it; put a new" in out
        pair(tmp_path)  # renewed, as by certbot
        assert served.service.certificate is not None
        served.service.certificate.refresh()
        code, _, err = await migctl("status", *over_tcp)
        assert (code, err) == (0, "")
        assert served.service.problem() == ""


async def test_a_certificate_for_another_address_is_told_so(tmp_path: Path) -> None:
    keys = pair(tmp_path, address="192.0.2.1")
    served = OverTcp(tmp_path, keys.section)
    async with served.answering():
        mine = token_file(tmp_path, served.token(Role.VIEWER))
        code, _, err = await migctl(
            "status", "--url", served.url, "--token-file", mine, "--ca-file", str(keys.certificate)
        )
        assert (code, "is for another name; go by the name that stands in it" in err) == (3, True)


def test_a_certificate_that_ends_soon_is_told_before(tmp_path: Path) -> None:
    keys = pair(tmp_path, days_left=10.5)
    certificate = Certificate(keys.certificate, keys.key)
    assert certificate.problem(time.time()).startswith(f"the certificate {keys.certificate} expires in 10 d 1")
    assert certificate.problem(time.time() - 5 * 86400.0) == ""


def test_a_renewal_that_went_wrong_is_told_and_the_old_one_goes_on(tmp_path: Path) -> None:
    keys = pair(tmp_path)
    certificate = Certificate(keys.certificate, keys.key)
    expires_at = certificate.expires_at
    old = keys.key.read_bytes()
    pair(tmp_path, days_left=300.0)
    keys.key.write_bytes(old)
    certificate.refresh()
    assert "and the key that belongs to it, without a passphrase; found:" in certificate.problem(time.time())
    assert certificate.expires_at == expires_at
    pair(tmp_path, days_left=300.0)
    certificate.refresh()
    assert certificate.problem(time.time()) == ""
    assert certificate.expires_at > expires_at


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_files_that_are_missing_or_garbage_are_named(tmp_path: Path, name: str) -> None:
    keys = pair(tmp_path)
    file: Path = getattr(keys, name)
    file.write_text("garbage")
    with pytest.raises(ConfigError, match="expected a certificate in PEM and the key that belongs to it"):
        Certificate(keys.certificate, keys.key)
    file.unlink()
    with pytest.raises(ConfigError, match=rf"http\.{name}_file .*: cannot be read: No such file or directory"):
        Certificate(keys.certificate, keys.key)


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"listen": "0.0.0.0:7280"}, "0.0.0.0 is heard by other machines, so it needs TLS: give certificate_file"),
        ({"listen": "127.0.0.1:7280", "key_file": "k"}, "certificate_file and key_file belong together"),
        ({"listen": "7280"}, "http.listen: "),
        ({"lisen": "127.0.0.1:7280"}, "http.lisen: unknown key; did you mean listen?"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(section: dict[str, str], text: str) -> None:
    whole = {
        "telemetry": {"secret_key_file": "k", "agents_file": "a"},
        "xapi": {"url": "u", "username": "u", "password_file": "p"},
        "http": section,
    }
    with pytest.raises(ConfigError) as refused:
        convert(whole, ControllerConfig, name="controller.toml")
    assert text in str(refused.value)


async def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        served = OverTcp(tmp_path, HttpSection(listen=f"127.0.0.1:{port}"))
        with pytest.raises(MigdError, match=rf"http\.listen 127\.0\.0\.1:{port}: cannot be listened on: .*in use"):
            async with served.service.over_tcp():
                pass
        served.journal.close()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--url", "http://controller.example:7280"], "the token would be sent for all to read; use https://"),
        (["--url", "controller:7280"], "expected https://HOST:PORT"),
        (["--url", "https://a:b"], "expected https://HOST:PORT"),
        (["--url", "https://localhost:1"], "over TCP a token is needed: name its file with --token-file"),
        (
            ["--url", "https://localhost:1", "--token-file", "/nowhere"],
            "--token-file /nowhere: cannot be read: No such",
        ),
    ],
)
async def test_what_migctl_cannot_use_is_named(arguments: list[str], text: str) -> None:
    code, out, err = await migctl("status", *arguments)
    assert (code, out) == (1, "")
    assert text in err


async def test_migctl_shows_no_token_that_others_may_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("migd_x")
    file.chmod(0o644)
    code, _, err = await migctl("status", "--url", "https://localhost:1", "--token-file", str(file))
    assert (code, f"others may read it (mode 0644); `chmod 600 {file}`" in err) == (1, True)
    file.chmod(0o600)
    code, _, err = await migctl("status", "--url", "https://localhost:1", "--token-file", str(file))
    assert (code, "nobody listens on https://localhost:1: is the controller running" in err) == (3, True)


async def closed_within(reader: asyncio.StreamReader, limit_s: float) -> bool:
    """True if the connection ended within that time."""
    try:
        async with asyncio.timeout(limit_s):
            while await reader.read(65536):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


async def test_connections_that_say_nothing_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "IDLE_S", 0.3)
    monkeypatch.setattr(places, "HANDSHAKE_WITHIN_S", 0.3)
    served = OverTcp(tmp_path, pair(tmp_path).section)
    async with served.answering():
        port = int(served.url.rpartition(":")[2])
        silent, opened = await asyncio.open_connection("127.0.0.1", port)
        assert await closed_within(silent, LIMIT_S)
        opened.close()
        unchecked = ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        slow, written = await asyncio.open_connection("127.0.0.1", port, ssl=unchecked)
        written.write(b"GET /v1/status HTTP/1.1\r\nHost: a\r\nX-Slow")  # and no more
        assert await closed_within(slow, LIMIT_S)
        written.close()


@pytest.mark.parametrize("way", ["tcp", "tls", "socket"])
async def test_of_more_connections_than_there_is_room_for_those_that_ask_nothing_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Whoever has something to ask is let in, and who follows the event stream stays."""
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(daemon, "MAX_CONNECTIONS", 3)
    served = OverTcp(tmp_path, pair(tmp_path).section if way == "tls" else LOOPBACK)
    async with served.answering(), contextlib.AsyncExitStack() as closing:
        client, base = (served.on_socket, "http://localhost") if way == "socket" else (served.client, served.url)
        ask = {"headers": {"Authorization": f"Bearer {served.token(Role.VIEWER)}"}, "ssl": False}
        follower = await closing.enter_async_context(client.get(f"{base}/v1/events", **ask))
        await follower.content.readline()
        silent = [await _silent(served, way) for _ in range(8)]
        closed = [await closed_within(reader, LIMIT_S) for reader, _ in silent[:6]]
        async with client.get(f"{base}/v1/status", **ask) as answer:
            assert answer.status == 200
        assert closed == [True] * 6
        served.control.dispatch(Paused())
        async with asyncio.timeout(LIMIT_S):
            while b"is_paused" not in await follower.content.readline():
                pass
        for _, writer in silent:
            writer.close()


async def _silent(served: OverTcp, way: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection on which nothing is said, not even the beginning of TLS."""
    if way == "socket":
        return await asyncio.open_unix_connection(str(served.config.socket))
    return await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))


async def test_where_everybody_is_being_answered_one_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 1)
    served = OverTcp(tmp_path)
    async with served.answering():
        ask = {"headers": {"Authorization": f"Bearer {served.token(Role.VIEWER)}"}}
        async with served.client.get(f"{served.url}/v1/events", **ask) as follower:
            await follower.content.readline()
            reader, writer = await _silent(served, "tcp")
            assert await closed_within(reader, LIMIT_S)
            writer.close()
