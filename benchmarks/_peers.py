"""What Debian's own monitoring daemons cost on this machine: gmond, and node_exporter scraped once a second.

Their packages are downloaded with apt and unpacked into a folder; nothing is installed and no service is started.
"""

import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

PACKAGES: Final = ("ganglia-monitor", "libganglia1", "libapr1", "libconfuse2", "libpcre3", "prometheus-node-exporter")
SCRAPE_PERIOD_S: Final = 1.0
_LIMIT_S: Final = 20.0


class NoPeer(RuntimeError):
    """A peer cannot be had; the text says why."""


def unpacked(folder: Path) -> Path:
    """Return the folder with the packages' files in it. Raises NoPeer."""
    root = folder / "root"
    if not root.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["apt-get", "download", "-qq", *PACKAGES]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoPeer(f"{' '.join(command)}: {done.stderr.strip()}; does `apt-get update` help?")
        for package in sorted(folder.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    return root


@contextmanager
def gmond(root: Path, folder: Path) -> Iterator[psutil.Process]:
    """Run gmond with Debian's own configuration, which sends to this machine instead of to a multicast group."""
    libraries = ":".join(sorted({str(found.parent) for found in root.rglob("lib*.so.*")}))
    text = (root / "etc/ganglia/gmond.conf").read_text()
    start, end = text.index("udp_send_channel"), text.index("/* You can specify as many tcp_accept_channels")
    text = f"{text[:start]}udp_send_channel {{\n  host = 127.0.0.1\n  port = {_free_port()}\n}}\n{text[end:]}"
    text = text.replace("/usr/lib/ganglia", str(root / "usr/lib/ganglia"))
    text = text.replace("port = 8649", f"port = {_free_port()}").replace("setuid = yes", "setuid = no")
    config = folder / "gmond.conf"
    config.write_text(text)
    command = [root / "usr/sbin/gmond", "--foreground", "--conf", config]
    with _running(command, folder, {"LD_LIBRARY_PATH": libraries}) as process:
        yield process


@contextmanager
def node_exporter(root: Path, folder: Path) -> Iterator[psutil.Process]:
    """Run node_exporter with its own defaults, and scrape it once a second."""
    port, stop = _free_port(), threading.Event()
    command = [root / "usr/bin/prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}"]
    with _running(command, folder, {}) as process:
        url = f"http://127.0.0.1:{port}/metrics"
        _scraped(url, process)
        scraper = threading.Thread(target=_scrape, args=(url, stop))
        scraper.start()
        try:
            yield process
        finally:
            stop.set()
            scraper.join()


@contextmanager
def _running(command: list[object], folder: Path, environment: dict[str, str]) -> Iterator[psutil.Process]:
    name = Path(str(command[0])).name
    with (folder / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(
            [str(part) for part in command], stdout=log, stderr=log, env={**os.environ, **environment}
        )
    try:
        yield psutil.Process(child.pid)
        if child.poll() is not None:
            said = (folder / f"{name}.log").read_text(errors="replace")[-300:]
            raise NoPeer(f"{name} ended with exit code {child.returncode}: {said}")
    finally:
        child.terminate()
        child.wait()


def _scrape(url: str, stop: threading.Event) -> None:
    while not stop.wait(SCRAPE_PERIOD_S):
        with urllib.request.urlopen(url, timeout=_LIMIT_S) as answer:
            answer.read()


def _scraped(url: str, process: psutil.Process) -> None:
    """Wait until the first scrape succeeds. Raises NoPeer."""
    until_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < until_s and process.is_running():
        try:
            with urllib.request.urlopen(url, timeout=_LIMIT_S) as answer:
                answer.read()
                return
        except OSError:
            time.sleep(0.05)
    raise NoPeer(f"{url} does not answer")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
