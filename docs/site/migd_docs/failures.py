"""The reference of failures of migrations, made of the table that migd goes by."""

from typing import Final

from migd_controller.pool_failures import MEANINGS, UNKNOWN, Scope
from migd_docs.tables import code, table

_WHOM: Final = {Scope.GUEST: "this guest", Scope.TARGET: "this guest, to that target", Scope.POOL: "every guest"}


def failures() -> str:
    """Return each failure code with what migd does then, for whom, and what would mend it."""
    rows = [
        (code(name) if name else "(none)", code(meaning.then.value), _WHOM[meaning.scope], meaning.advice)
        for name, meaning in {**MEANINGS, "any other": UNKNOWN}.items()
    ]
    return table(("code", "then", "holds back", "what would mend it"), rows)
