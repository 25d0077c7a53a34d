"""The OpenAPI document is current, and the real API behaves as it says."""

import asyncio
import os
import sys
from pathlib import Path

import msgspec
from served import OverTcp

from migd_controller.http.limits import Buckets
from migd_controller.http.openapi import openapi
from migd_core.api import ROLES, ROUTES, Role

# What a policy takes as its configuration is the policy's own, which the document cannot say: it is refused with 400.
SCHEMATHESIS = """\
[[operations]]
include-path-regex = "^/v1/(policy|policy/dry-run|shadows)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "429"]
"""
FILE = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_document_in_docs_is_the_one_that_is_served() -> None:
    """`MIGD_ACCEPT=1 pytest tests/controller/test_openapi.py` writes it anew."""
    current = msgspec.json.format(msgspec.json.encode(openapi(), order="deterministic"), indent=1).decode() + "\n"
    if os.environ.get("MIGD_ACCEPT"):
        FILE.write_text(current)
    assert FILE.read_text() == current


def test_every_route_is_described_with_its_role() -> None:
    told = {
        (method.upper(), path): operation.get("x-role")
        for path, operations in openapi()["paths"].items()
        for method, operation in operations.items()
    }
    assert told.keys() >= ROUTES.keys()
    assert told.pop(("POST", "/v1/session")) is None
    assert told == {route: ROLES[route].value for route in told}


async def test_the_real_api_behaves_as_the_document_says(tmp_path: Path) -> None:
    """Schemathesis makes requests of the document, right and wrong ones, always the same, and checks each answer."""
    served = OverTcp(tmp_path)
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS)
    async with served.answering():
        served.service.gate.requests = served.service.gate.failures = Buckets(per_s=1e6, burst=1e6)
        admin = served.token(Role.ADMIN)
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            "run",
            str(FILE),
            f"--url={served.url}",
            f"--header=Authorization: Bearer {admin}",
            "--phases=examples,coverage,fuzzing",
            "--checks=all",
            "--max-examples=5",
            "--exclude-path=/v1/events",  # it goes on until the reader leaves
            "--generation-deterministic",
            "--no-color",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
