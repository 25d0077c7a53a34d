"""`GET /v1/doctor` of a running controller: what agents and pool really say."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_cluster import POOL, LiveCluster, until

from migd_cli.demo.children import brood
from migd_core import __version__
from migd_core.api import ExaminationView, FindingView, Verdict

# One user of a directory, who may do what migd needs; one guest whose disks are at hand on one host only.
WITH_A_USER = POOL.replace(
    "xapi = { refusal_delay_s = 0.0 }",
    """\
[xapi]
refusal_delay_s = 0.0

[[xapi.users]]
name = "root"
password = "migd"
role = "{role}"
""",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def examined(folder: Path, role: str, agents: list[str]) -> Iterator[dict[str, list[FindingView]]]:
    with brood(folder) as children:
        cluster = LiveCluster(folder, children, WITH_A_USER.format(role=role), agents)
        controller = cluster.controller()
        controller.start()
        cluster.start_agents(controller)
        controller.sees_everything()

        def once_all_report() -> ExaminationView | None:
            view: ExaminationView = controller.ask("GET", "/v1/doctor")
            reporting = f"the controller and {len(agents)} agent"
            return view if any(each.text.startswith(reporting) for each in view.findings) else None

        view = until(once_all_report, controller.child)
        yield {
            check: [each for each in view.findings if each.check == check] for check in {e.check for e in view.findings}
        }
        controller.end()


@pytest.mark.parametrize(
    ("role", "verdict", "text"),
    [
        ("vm-power-admin", Verdict.OK, "root may do what migd asks for, and does not administer the pool"),
        ("vm-operator", Verdict.PROBLEM, "root may not call vm.add_to_blocked_operations, vm.pool_migrate, vm.rem"),
    ],
)
def test_the_role_of_the_pools_user_is_told(folder: Path, role: str, verdict: Verdict, text: str) -> None:
    (found,) = examined(folder, role, ["host-1"])
    (user,) = found["pool user"]
    assert (user.verdict, user.text[: len(text)]) == (verdict, text)
    (versions,) = found["versions"]
    assert versions.text == f"the controller and 1 agent are {__version__}"
    assert [each.verdict for each in found["clocks"]] == [Verdict.OK]
    (without,) = [each for each in found["agents"] if each.verdict is Verdict.WARNING]
    assert without.text.endswith("without dirty pages or traffic: xen2")
