"""`migctl`, also `python -m migd_cli`."""

import sys
from io import TextIOWrapper

from migd_cli.app import migctl


def main() -> None:
    """Run `migctl` with the arguments of this process, and end it with one of the documented exit codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a mark that this terminal cannot show becomes a question mark
    migctl(prog_name="migctl")


if __name__ == "__main__":
    main()
