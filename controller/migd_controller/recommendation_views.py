"""Automation levels and recommendations as the API shows them. Pure: the core in, bodies of the API out."""

from migd_controller.automation import cluster_level, level
from migd_controller.core import Core
from migd_controller.recommendations import Recommendation
from migd_controller.views import candidate_view
from migd_core import api


def automation_view(core: Core) -> api.AutomationView:
    """The cluster's level, and that of each job, by name."""
    memory, section = core.memory, core.config.automation
    return api.AutomationView(
        level=cluster_level(memory, section),
        configured=section.level,
        chosen=memory.automation,
        lapse_s=section.lapse_s,
        refused_for_s=section.refused_for_s,
        jobs=[
            api.JobAutomationView(job=name, level=level(memory, section, name), own=job.limits.automation)
            for name, job in sorted(memory.jobs.items())
        ],
    )


def recommendations_view(core: Core) -> list[api.RecommendationView]:
    """What is recommended now: guests that are to leave for their safety first, then the oldest."""
    open_ = core.memory.recommendations.values()
    found = sorted(open_, key=lambda each: (not each.is_for_safety, each.at, each.name))
    return [recommendation_view(core, each) for each in found]


def recommendation_view(core: Core, recommendation: Recommendation) -> api.RecommendationView:
    """One recommendation, open or over."""
    return api.RecommendationView(
        name=recommendation.name,
        at=recommendation.at,
        lapses_at=recommendation.proposed_at + core.config.automation.lapse_s,
        policy=recommendation.policy,
        standing=recommendation.standing.value,
        is_for_safety=recommendation.is_for_safety,
        moves=[candidate_view(candidate, core.inventory) for candidate in recommendation.candidates],
        text=recommendation.text,
        decision=recommendation.decision,
    )
