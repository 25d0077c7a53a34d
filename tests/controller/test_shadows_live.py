"""A policy beside the active one, on a running controller: asked, compared, and there again after a crash."""

import signal
from pathlib import Path

from live_cluster import LiveCluster, LiveController, until

from migd_cli.demo.children import brood
from migd_core.api import ContenderView


def watched(controller: LiveController, *, at_least_s: float) -> ContenderView:
    """Wait until the shadow has been followed for so long."""

    def look() -> ContenderView | None:
        (view,) = controller.ask("GET", "/v1/shadows")
        assert isinstance(view, ContenderView)
        return view if view.last is not None and view.watched_s >= at_least_s else None

    assert controller.child is not None
    return until(look, controller.child)


def test_a_shadow_is_asked_every_period_and_again_after_a_crash(tmp_path: Path) -> None:
    with brood(tmp_path) as children:
        cluster = LiveCluster(tmp_path, children)
        controller = cluster.controller()
        controller.start()
        cluster.start_agents(controller)
        controller.sees_everything()
        controller.ask("POST", "/v1/shadows", name="least-loaded", config={"sustained_periods": "2"}, label="eager")
        before = watched(controller, at_least_s=2.0)
        assert (before.problem, before.last.policy if before.last else "") == ("", "least-loaded")
        assert controller.journaled("ShadowTurn") > 0
        assert controller.journaled("StartMigration") == 0
        controller.end(signal.SIGKILL)
        later = cluster.controller(state_dir=controller.folder / "state")
        later.start()
        later.sees_everything()
        after = watched(later, at_least_s=before.watched_s)
        assert (after.label, after.config, after.since) == ("eager", before.config, before.since)
        comparison = later.ask("GET", "/v1/policies/comparison")
        assert [view.label for view in comparison.contenders] == ["observe", "eager"]
        later.end()
