"""Who is let in over TCP, as whom, and with what words others are sent away."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from served import OverTcp

from migd_controller.http.callers import Gate
from migd_controller.http.tokens import Tokens
from migd_core.api import ROLES, ROUTES, Role
from migd_core.errors import ConfigError, MigdError, Refused, UnknownName


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path)
    async with served.answering():
        yield served


def test_every_route_says_which_role_may_ask() -> None:
    assert ROUTES.keys() <= ROLES.keys()
    for (method, path), role in ROLES.items():
        if role is Role.VIEWER:
            assert method == "GET" or path == "/v1/session", f"a viewer may {method} {path}"


def test_each_role_includes_those_before_it() -> None:
    allowed = {(role, needed) for role in Role for needed in Role if role.includes(needed)}
    viewer, operator, admin = Role
    assert allowed == {
        (viewer, viewer),
        (operator, viewer),
        (operator, operator),
        (admin, viewer),
        (admin, operator),
        (admin, admin),
    }


@pytest.mark.parametrize(
    "path", ["/v1/status", "/v1/events", "/v1/session", "/v1/nothing", "/v1/explain/rank0", "/v1/audit", "/metrics"]
)
async def test_without_a_token_nothing_is_told(served: OverTcp, path: str) -> None:
    status, problem = await served.ask("GET", path)
    assert (status, problem["code"]) == (401, "NotLetIn")
    assert problem["text"].startswith("no token came with the request: send `Authorization: Bearer TOKEN`")


@pytest.mark.parametrize(("method", "path"), sorted(route for route in ROUTES))
async def test_no_route_does_anything_for_who_has_no_token(served: OverTcp, method: str, path: str) -> None:
    before = served.journal.memory()
    status, _ = await served.ask(method, path.replace("{name}", "x").replace("{guest}", "x").replace("{subject}", "x"))
    assert (status, served.asked, served.journal.memory()) == (401, [], before)


@pytest.mark.parametrize(("method", "path"), sorted(route for route, role in ROLES.items() if role is not Role.VIEWER))
async def test_a_viewer_sees_and_does_not_steer(served: OverTcp, method: str, path: str) -> None:
    needed = ROLES[method, path].value
    path = path.replace("{name}", "x").replace("{guest}", "x").replace("{label}", "x").replace("{host}", "x")
    status, problem = await served.ask(method, path, served.token(Role.VIEWER))
    assert (status, problem["code"]) == (403, "NotAllowed")
    assert problem["text"] == (
        f"{method} {path} needs the role {needed}, and token the-viewer has the role viewer; "
        f"an admin makes another with `migctl token new NAME --role {needed}`"
    )
    assert served.asked == []


async def test_an_operator_steers_and_makes_no_tokens(served: OverTcp) -> None:
    operator = served.token(Role.OPERATOR)
    assert (await served.ask("POST", "/v1/pause", operator))[0] == 200
    assert served.cluster.core.memory.is_paused
    status, problem = await served.ask("POST", "/v1/tokens", operator, {"name": "me", "role": "admin"})
    assert (status, problem["code"]) == (403, "NotAllowed")
    assert served.service.tokens.all().keys() == {"the-operator"}


async def test_a_token_that_is_not_one_is_refused(served: OverTcp) -> None:
    token = served.token(Role.VIEWER)
    for wrong in ("x", token[:-1], token + "x", token.upper(), "ä" * 40):
        status, problem = await served.ask("GET", "/v1/status", wrong)
        assert (status, problem["text"][:51]) == (401, "the token is not one of this controller, or it was ")


async def test_wrong_tokens_are_slowed_down_and_the_right_one_is_not(served: OverTcp) -> None:
    told = [(await served.ask("GET", "/v1/status", "wrong"))[0] for _ in range(12)]
    assert told == [401] * 10 + [429] * 2
    async with served.client.get(served.url + "/v1/status", headers={"Authorization": "Bearer wrong"}) as answer:
        assert 0 < int(answer.headers["Retry-After"]) <= 10
    assert (await served.ask("GET", "/v1/status", served.token(Role.VIEWER)))[0] == 200


async def test_who_asks_too_often_is_told_to_wait(served: OverTcp) -> None:
    token = served.token(Role.VIEWER)
    for _ in range(4000):
        async with served.client.get(served.url + "/v1/session", headers={"Authorization": f"Bearer {token}"}) as got:
            if got.status == 429:
                assert int(got.headers["Retry-After"]) == 1
                assert (await got.json())["text"].startswith("token the-viewer asks more often than 50 times a second")
                return
    pytest.fail("nobody was slowed down")


async def test_a_revoked_token_counts_no_more(served: OverTcp) -> None:
    admin, viewer = served.token(Role.ADMIN), served.token(Role.VIEWER)
    assert (await served.ask("GET", "/v1/status", viewer))[0] == 200
    status, revoked = await served.ask("DELETE", "/v1/tokens/the-viewer", admin)
    assert (status, revoked["name"], revoked["role"]) == (200, "the-viewer", "viewer")
    assert (await served.ask("GET", "/v1/status", viewer))[0] == 401
    assert [token["name"] for token in (await served.ask("GET", "/v1/tokens", admin))[1]] == ["the-admin"]


async def test_an_admin_makes_a_token_which_is_told_once(served: OverTcp, tmp_path: Path) -> None:
    admin = served.token(Role.ADMIN)
    status, made = await served.ask("POST", "/v1/tokens", admin, {"name": "grafana", "role": "viewer"})
    assert (status, made["role"], made["expires_at"]) == (201, "viewer", None)
    assert (await served.ask("GET", "/v1/session", made["token"]))[1] == {
        "name": "grafana",
        "role": "viewer",
        "expires_at": None,
    }
    file = tmp_path / "tokens.toml"
    assert made["token"] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert made["token"] not in str(await served.ask("GET", "/v1/tokens", admin))
    status, problem = await served.ask("POST", "/v1/tokens", admin, {"name": "grafana", "role": "admin"})
    assert (status, problem["text"]) == (
        409,
        "there is a token grafana already; `migctl token revoke grafana` takes it away",
    )


def clock(served: OverTcp) -> list[float]:
    """Set the wall clock of the gate, which the test then changes."""
    now = [time.time()]
    gate: Gate = served.service.gate
    gate.now_s = lambda: now[0]
    return now


async def test_a_token_ends_with_its_time_by_the_wall_clock(served: OverTcp) -> None:
    now = clock(served)
    token = served.service.tokens.new("short", Role.VIEWER, now[0], expires_at=now[0] + 3600.0)
    assert (await served.ask("GET", "/v1/status", token))[0] == 200
    now[0] += 3601.0  # the clock jumps
    status, problem = await served.ask("GET", "/v1/status", token)
    assert status == 401
    assert problem["text"].startswith("token short expired on 20")
    now[0] -= 3601.0  # and back
    assert (await served.ask("GET", "/v1/status", token))[0] == 200


async def test_a_file_of_tokens_with_a_typo_lets_nobody_in_until_it_is_mended(served: OverTcp, tmp_path: Path) -> None:
    token, file = served.token(Role.VIEWER), tmp_path / "tokens.toml"
    right = file.read_text()
    file.write_text(right.replace("role =", "rule ="))
    assert (await served.ask("GET", "/v1/status", token))[0] == 401
    async with served.on_socket.get("http://localhost/v1/status") as answer:
        problem = (await answer.json())["http_problem"]
    assert problem.endswith("unknown key; did you mean role?")
    async with served.on_socket.post("http://localhost/v1/tokens", json={"name": "x", "role": "viewer"}) as answer:
        assert (answer.status, (await answer.json())["text"]) == (400, problem)
    assert "rule =" in file.read_text()
    file.write_text(right)
    os.utime(file, (1.0, 1.0))
    assert (await served.ask("GET", "/v1/status", token))[0] == 200


def test_a_controller_does_not_start_with_a_file_of_tokens_that_has_a_typo(tmp_path: Path) -> None:
    (tmp_path / "tokens.toml").write_text('[tokens.me]\nrole = "root"\n')
    with pytest.raises(ConfigError, match=r"tokens.*\.role: expected one of viewer, operator, admin, found 'root'"):
        Tokens(tmp_path / "tokens.toml")


def test_tokens_survive_being_written_and_read(tmp_path: Path) -> None:
    first = Tokens(tmp_path / "tokens.toml")
    secrets = {name: first.new(name, Role.VIEWER, 5.0, 1e10) for name in ("a", "b.c", "d@e")}
    again = Tokens(tmp_path / "tokens.toml")
    assert again.all() == first.all()
    assert {name: found[0] for name, secret in secrets.items() if (found := again.of(secret)) is not None} == {
        name: name for name in secrets
    }
    with pytest.raises(UnknownName, match=r"no token is called f; known tokens: a, b\.c, d@e"):
        again.revoke("f")
    for name in ("", "a b", '"', "x" * 65, "-x"):
        with pytest.raises(Refused, match="name: expected up to 64 letters, digits"):
            again.new(name, Role.VIEWER, 5.0)


def test_tokens_that_cannot_be_written_are_as_they_were(tmp_path: Path) -> None:
    """As on a full disk: a file takes the folder's place, which root cannot write to either."""
    tokens = Tokens(tmp_path / "file" / "tokens.toml")
    (tmp_path / "file").write_text("")
    with pytest.raises(MigdError, match=r"cannot be (written|read): Not a directory"):
        tokens.new("a", Role.VIEWER, 5.0)
    assert tokens.all() == {}


async def log_in(served: OverTcp, token: str, **headers: str) -> tuple[int, Any, str]:
    """Return status, body, and the cookie's whole line."""
    async with served.client.post(served.url + "/v1/session", json={"token": token}, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers.get("Set-Cookie", "")


async def test_a_browser_logs_in_with_a_token_and_keeps_no_token(served: OverTcp) -> None:
    token = served.token(Role.OPERATOR)
    status, body, line = await log_in(served, token)
    assert (status, body["name"], body["role"]) == (200, "the-operator", "operator")
    cookie, *attributes = line.split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/"} <= set(attributes)
    assert 43_190 <= int(line.partition("Max-Age=")[2].partition(";")[0]) <= 43_200
    assert token not in line
    assert (await served.ask("GET", "/v1/status", headers={"Cookie": cookie}))[0] == 200
    command = {"Cookie": cookie, "Origin": served.url}
    assert (await served.ask("POST", "/v1/pause", headers=command))[0] == 200
    assert (await log_in(served, "wrong"))[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_in_the_same_browser_commands_nothing(served: OverTcp, headers: dict[str, str]) -> None:
    _, _, line = await log_in(served, served.token(Role.OPERATOR))
    cookie = line.split("; ")[0]
    status, problem = await served.ask("POST", "/v1/pause", headers={"Cookie": cookie, **headers})
    assert (status, problem["code"]) == (403, "NotAllowed")
    assert (await log_in(served, served.token(Role.VIEWER), **headers))[0] == 403
    async with served.on_socket.post("http://localhost/v1/pause", headers=headers) as answer:
        assert answer.status == 403  # through `ssh -L` to the socket
    assert not served.cluster.core.memory.is_paused


async def test_a_form_of_another_site_commands_nothing(served: OverTcp) -> None:
    _, _, line = await log_in(served, served.token(Role.OPERATOR))
    headers = {"Cookie": line.split("; ")[0], "Content-Type": "text/plain"}
    async with served.client.post(served.url + "/v1/jobs", data=b"{}", headers=headers) as answer:
        assert (answer.status, (await answer.json())["text"]) == (
            403,
            "POST /v1/jobs: a browser's command is application/json",
        )


async def test_a_browser_that_was_led_to_the_socket_by_another_name_is_refused(served: OverTcp) -> None:
    headers = {"Host": "evil.example:8080", "Sec-Fetch-Site": "same-origin"}
    async with served.on_socket.get("http://localhost/v1/status", headers=headers) as answer:
        assert answer.status == 403
    async with served.on_socket.get(
        "http://localhost/v1/status", headers={"Host": "localhost:8080", "Sec-Fetch-Site": "same-origin"}
    ) as answer:
        assert answer.status == 200


async def test_a_session_ends_with_its_token_with_its_time_and_with_logging_out(served: OverTcp) -> None:
    now = clock(served)
    token = served.token(Role.VIEWER)
    cookie = (await log_in(served, token))[2].split("; ")[0]
    seen = {"Cookie": cookie}
    name, ends, signature = cookie.partition("=")[2].split(":")
    for forged in (f"{name}:{int(ends) + 1}:{signature}", f"root:{ends}:{signature}", f"{name}:{ends}:", "x", "::", ""):
        assert (await served.ask("GET", "/v1/status", headers={"Cookie": f"migd_session={forged}"}))[0] == 401
    assert (await served.ask("GET", "/v1/status", headers=seen))[0] == 200
    now[0] += 12 * 3600.0 + 1
    assert (await served.ask("GET", "/v1/status", headers=seen))[0] == 401
    now[0] -= 12 * 3600.0 + 1
    async with served.client.delete(served.url + "/v1/session", headers=seen) as answer:
        assert (answer.status, 'migd_session=""' in answer.headers["Set-Cookie"]) == (200, True)
    served.service.tokens.revoke("the-viewer")
    served.token(Role.VIEWER)  # another of that name
    assert (await served.ask("GET", "/v1/status", headers=seen))[0] == 401


async def test_a_session_survives_a_restart_of_the_controller(tmp_path: Path) -> None:
    first = OverTcp(tmp_path)
    async with first.answering():
        cookie = (await log_in(first, first.token(Role.VIEWER)))[2].split("; ")[0]
    second = OverTcp(tmp_path)
    async with second.answering():
        assert (await second.ask("GET", "/v1/status", headers={"Cookie": cookie}))[0] == 200


async def test_on_the_socket_the_peer_is_known_and_may_do_all(served: OverTcp) -> None:
    import pwd

    async with served.on_socket.get("http://localhost/v1/session") as answer:
        assert await answer.json() == {
            "name": pwd.getpwuid(os.getuid()).pw_name,
            "role": "admin",
            "expires_at": None,
        }


async def test_the_page_is_there_for_everybody_with_headers_that_hold_scripts_back(served: OverTcp) -> None:
    async with served.client.get(served.url + "/") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        kept = ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy")
        assert [answer.headers[name] for name in kept] == ["nosniff", "DENY", "no-referrer", "same-origin"]
    for path in ("/../tokens.toml", "/%2e%2e/api.py", "/nothing.js", "/..%2f..%2fapi.py"):
        async with served.client.get(served.url + path) as answer:
            assert answer.status in (403, 404)
