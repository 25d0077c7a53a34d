"""What the API answers a newcomer's mistakes with: the thing, and the next step."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from cluster_of_events import Cluster, pool_guest, pool_host
from test_api import Served

from migd_core.api import Problem


@pytest.mark.parametrize(
    ("method", "path", "body", "found", "mend"),
    [
        (
            "PUT",
            "/v1/policy",
            {"name": "leest-loaded"},
            "no policy is called 'leest-loaded'",
            "did you mean least-loaded?",
        ),
        ("PUT", "/v1/policy", {"name": "zzz"}, "no policy is called 'zzz'", "there are: observe, least-loaded"),
        (
            "PUT",
            "/v1/policy",
            {"name": "least-loaded", "config": {"margin": "1"}},
            "margin: unknown key",
            "margin_ratio",
        ),
        ("POST", "/v1/migrations", {"guest": "rank9", "host": "a"}, "called 'rank9'", "`migctl guests` lists guests"),
        ("POST", "/v1/migrations", {"guest": "g", "host": "z"}, "no single host is called 'z'", "`migctl hosts` lists"),
        ("POST", "/v1/migrations", {"guest": "g", "host": "a"}, "", "see `migctl explain D"),
        ("GET", "/v1/explain/rank9", None, "no single running guest or decision is called 'rank9'", "`migctl guests`"),
        ("POST", "/v1/jobs", {"name": "j", "guests": ["rank9"]}, "called 'rank9'", "`migctl guests` lists guests"),
        ("DELETE", "/v1/jobs/j", None, "no job is called j", "`migctl job add` makes one"),
        (
            "POST",
            "/v1/migrations/g/cancel",
            None,
            "no migration of a guest g",
            "`migctl history` lists those that are over",
        ),
        ("POST", "/v1/guests/g/release", None, "no guest called g is held back", "`migctl guests` says why"),
        ("DELETE", "/v1/shadows/s", None, "no shadow policy is called s", "`migctl policy shadow add` adds one"),
        ("GET", "/v1/migrations?limit=0", None, "found '0'", "a whole number from 1 to 1000"),
    ],
)
async def test_a_mistake_is_answered_with_the_next_step(
    tmp_path: Path, method: str, path: str, body: Any, found: str, mend: str
) -> None:
    served = Served(Cluster([pool_host("a"), pool_host("b")], [pool_guest("g", on="a")]), tmp_path)
    served.cluster.run(1)
    async with served.answering():
        status, answer = await served.raw(method, path, msgspec.json.encode(body) if body is not None else b"")
    text = msgspec.json.decode(answer, type=Problem).text
    assert 400 <= status < 500
    assert found in text
    assert mend in text
