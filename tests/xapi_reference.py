"""The published datamodel of XAPI, where it is at hand.

`MIGD_XAPI_REFERENCE` names the folder with `xenapi.json` and `xapi-errors.json`; otherwise `../shared/reference` beside the
project is looked at.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[1]
REFERENCE = Path(os.environ.get("MIGD_XAPI_REFERENCE", PROJECT.parent / "shared" / "reference"))


def reference(name: str) -> Any:
    """Return one of its files, or skip the test with the reason."""
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(
            f"the published datamodel is not at hand: there is no {path}; set MIGD_XAPI_REFERENCE to its folder"
        )
    return json.loads(path.read_text())
