"""A host's load over the last control periods: one sample is no trend."""

from migd_core.world import Host


def lowest_load_ratio(host: Host, periods: int) -> float | None:
    """Return what the host's load never fell below in the last `periods`; None if it was not seen for that long."""
    recent = host.recent_load_ratios[-periods:]
    return min(recent) if len(recent) == periods else None


def highest_load_ratio(host: Host, periods: int) -> float | None:
    """Return what the host's load never rose above in the last `periods`; None if it was not seen for that long."""
    recent = host.recent_load_ratios[-periods:]
    return max(recent) if len(recent) == periods else None
