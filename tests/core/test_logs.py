"""A terminal gets readable lines, anything else one JSON object a line."""

import io
import json
import subprocess
import sys
import threading

import structlog

from migd_core import logs


def test_a_pipe_gets_one_json_object_a_line() -> None:
    stream = io.StringIO()
    logs.configure(component="agent", stream=stream)
    try:
        structlog.get_logger().info("sample sent", cause="D7")
        structlog.get_logger().debug("too fine for the default level")
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert (fields["event"], fields["component"], fields["cause"], fields["level"]) == (
        "sample sent",
        "agent",
        "D7",
        "info",
    )
    assert fields["timestamp"].endswith("Z")


def test_a_line_that_another_thread_hands_on_has_its_component_too() -> None:
    stream = io.StringIO()
    logs.configure(component="agent", stream=stream)
    try:
        thread = threading.Thread(target=structlog.get_logger().info, args=("pool answers",))
        thread.start()
        thread.join()
    finally:
        structlog.reset_defaults()
    assert json.loads(stream.getvalue())["component"] == "agent"


def test_a_terminal_gets_readable_lines() -> None:
    program = (
        "import pty, os, sys\n"
        "pid, fd = pty.fork()\n"
        "if pid == 0:\n"
        "    import structlog\n"
        "    from migd_core import logs\n"
        "    logs.configure(component='agent', stream=sys.stdout)\n"
        "    structlog.get_logger().info('sample sent', cause='D7')\n"
        "    sys.stdout.flush(); os._exit(0)\n"
        "text = b''\n"
        "while True:\n"
        "    try: part = os.read(fd, 4096)\n"
        "    except OSError: break\n"
        "    if not part: break\n"
        "    text += part\n"
        "os.waitpid(pid, 0); os.close(fd); sys.stdout.write(text.decode())\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert "sample sent" in shown
    assert "cause" in shown
    assert not shown.startswith("{")
