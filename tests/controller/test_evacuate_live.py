"""`migctl evacuate` as an operator meets it: real processes, an emulated pool, and a policy that moves nothing."""

import os
import subprocess
import sys
from pathlib import Path

from live_cluster import LiveCluster

from migd_cli.demo.children import brood


def test_a_host_is_emptied_while_the_policy_observes_and_automation_is_off(tmp_path: Path) -> None:
    with brood(tmp_path) as children:
        cluster = LiveCluster(tmp_path, children)
        controller = cluster.controller()
        controller.start()
        cluster.start_agents(controller)
        controller.sees_everything()
        socket = str(controller.folder / "controller.sock")

        def migctl(*arguments: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [sys.executable, "-m", "migd_cli", *arguments],
                env={**os.environ, "MIGD_SOCKET": socket},
                capture_output=True,
                text=True,
                timeout=90,
            )

        assert migctl("automation", "set", "off").returncode == 0
        planned = migctl("evacuate", "xen1", "--dry-run").stdout.splitlines()
        assert planned[0] == "xen1 is not being emptied; what that would do; guests on it: 3"
        ended = migctl("evacuate", "xen1")
        assert (ended.returncode, ended.stderr) == (0, "")
        lines = ended.stdout.splitlines()
        assert {line.split()[0] for line in lines if " has left for xen2; " in line} == {"rank0", "rank1", "big"}
        assert lines[-1] == "xen1 is empty; it receives no guests until `migctl host maintenance off xen1`."
        moved = controller.ask("GET", "/v1/migrations")
        assert {(each.guest_name, each.state, each.requested_by) for each in moved} == {
            (name, "moved", "by hand") for name in ("rank0", "rank1", "big")
        }
        refused = migctl("migrate", "big", "xen1")
        assert (refused.returncode, "it is in maintenance" in refused.stderr) == (1, True)
        assert migctl("host", "maintenance", "off", "xen1").stdout == "xen1 is in service; it may receive guests.\n"
        controller.end()
