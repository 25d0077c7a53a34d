"""Which form of an answer a client would rather have, by its Accept header: http.ml, as far as it reads one."""

from collections.abc import Sequence


def preferred(accept: str | None, offered: Sequence[str]) -> str | None:
    """Return the media type that the header prefers, the first offered of several; None where it says nothing of them.

    A header that cannot be read says nothing.
    """
    if accept is None:
        return None
    try:
        ranges = [_media_range(part) for part in accept.split(",")]
    except ValueError:
        return None
    for quality in sorted({quality for _, quality in ranges}, reverse=True):
        liked = [pattern for pattern, each in ranges if each == quality]
        for media_type in offered:
            if any(_matches(pattern, media_type) for pattern in liked):
                return media_type
    return None


def _media_range(text: str) -> tuple[str, float]:
    """Return pattern and quality of `text/xml;q=0.8`. Raises ValueError."""
    pattern, *parameters = (part.strip() for part in text.split(";"))
    if pattern.count("/") != 1 or not all("=" in parameter for parameter in parameters):
        raise ValueError(text)
    qualities = [float(value) for key, _, value in (each.partition("=") for each in parameters) if key == "q"]
    return pattern, qualities[0] if qualities else 1.0


def _matches(pattern: str, media_type: str) -> bool:
    wanted, _, detail = pattern.partition("/")
    kind, _, subtype = media_type.partition("/")
    return wanted == "*" or (wanted == kind and detail in ("*", subtype))
