"""Bring promtool, out of Debian's package of Prometheus: `python tests/deploy/fetch_promtool.py FOLDER`.

The package itself would start a server; one program of it is kept.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def main(folder: Path) -> None:
    """Put promtool into `folder`. Without apt-get there is none, and the tests that need it are skipped."""
    if shutil.which("apt-get") is None:
        sys.stderr.write("there is no apt-get: alert rules will not be checked by promtool\n")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
        if subprocess.run(command, cwd=downloads, check=False).returncode != 0 and os.getuid() == 0:
            subprocess.run(["apt-get", "update", "-qq"], check=True)  # a new Debian has no package lists yet
            subprocess.run(command, cwd=downloads, check=True)
        packages = list(Path(downloads).glob("prometheus_*.deb"))
        if not packages:
            sys.stderr.write("prometheus cannot be downloaded; as root, first: apt-get update\n")
            return
        subprocess.run(["dpkg-deb", "--extract", packages[0], downloads], check=True)
        shutil.copy2(Path(downloads) / "usr" / "bin" / "promtool", folder / "promtool")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
