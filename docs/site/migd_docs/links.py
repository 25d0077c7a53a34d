"""Links of the repository's pages as the site needs them: what is no page of it is named, not linked."""

import re
from collections.abc import Callable
from pathlib import Path
from posixpath import dirname, normpath
from typing import Final

_FENCE: Final = re.compile(r"^(```|~~~).*?^\1\s*$", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"(?<!!)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s#]+)(?P<anchor>#[^()\s]*)?\)")
_ELSEWHERE: Final = re.compile(r"^[a-z][a-z0-9+.-]*:")


def mended(markdown: str, page: str, root: Path, is_page: Callable[[str], bool]) -> str:
    """Return a page's Markdown with each relative link fit for the site.

    `page` is its path in the repository at `root`. A folder stands for its README where that is a page; another file or
    folder that exists loses its link, and its path is told unless the link's text ends with it. A target that does not
    exist stays, for a strict build to find.
    """

    def mend(match: re.Match[str]) -> str:
        target, anchor = match["target"], match["anchor"] or ""
        path = normpath(f"{dirname(page)}/{target}".lstrip("/"))
        if _ELSEWHERE.match(target) or is_page(path):
            return match[0]
        if is_page(f"{path}/README.md"):
            return f"[{match['text']}]({target.rstrip('/')}/README.md{anchor})"
        if not (root / path).exists():
            return match[0]
        text = match["text"].strip("`")
        return match["text"] if path.endswith(text) else f"{match['text']} (`{path}`)"

    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(mend, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join(parts) + _LINK.sub(mend, markdown[end:])
