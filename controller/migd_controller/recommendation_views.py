"""Automation levels and recommendations as the API shows them. Pure: the core in, bodies of the API out."""

from migd_controller.automation import cluster_level, level
from migd_controller.core import Core
from migd_controller.recommendations import Recommendation
from migd_controller.views import candidate_view
from migd_core import api


def automation_view(core: Core, now_s: float) -> api.AutomationView:
    """The cluster's level and hours, and those of each job, by name."""
    memory, section, rules = core.memory, core.config.automation, core.config.rules
    is_allowed_hour = rules.may_move(now_s)
    return api.AutomationView(
        level=cluster_level(memory, section),
        configured=section.level,
        chosen=memory.automation,
        lapse_s=section.lapse_s,
        refused_for_s=section.refused_for_s,
        allowed_hours=rules.allowed_hours,
        time_zone=rules.time_zone,
        is_allowed_hour=is_allowed_hour,
        jobs=[
            api.JobAutomationView(
                job=name,
                level=level(memory, section, name),
                own=job.limits.automation,
                allowed_hours=None if job.limits.allowed_hours is None else list(job.limits.allowed_hours),
                is_allowed_hour=is_allowed_hour and rules.may_move(now_s, job.limits.allowed_hours),
            )
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
        by=recommendation.by,
        decision=recommendation.decision,
    )
