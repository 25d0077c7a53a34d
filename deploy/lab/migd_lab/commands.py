"""Commands of this machine: run to their end within a time, or fail with what they said."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from migd_lab.errors import LabError


def run(
    *command: str | Path,
    timeout_s: float = 60.0,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Return what the command wrote to its standard output. Raises LabError when it fails or takes longer."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout_s, env=env, cwd=folder
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]}: there is no such command here; `migd_lab build` installs what it needs") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{_shown(words)}: not done after {timeout_s:g} s") from error
    if done.returncode != 0:
        raise LabError(f"{_shown(words)}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def _shown(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= 300 else f"{text[:300]}…"
