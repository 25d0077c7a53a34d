"""What mkdocs calls while it builds the site (`mkdocs.yml`)."""

from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from migd_docs import pages
from migd_docs.links import mended

ROOT: Final = Path(__file__).parents[2]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the repository's pages at their own paths, and the theme's files."""
    paths = pages.sources(ROOT)
    config.nav = pages.navigation(paths)
    theirs = [
        file for file in files if file.generated_by or not Path(file.abs_src_path or "").is_relative_to(ROOT / "docs")
    ]
    return Files([*theirs, *(File.generated(config, path, abs_src_path=str(ROOT / path)) for path in paths)])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with its links mended, and with what is made of the code."""
    known = files.src_uris
    return pages.filled(mended(markdown, page.file.src_uri, ROOT, lambda path: path in known))
