"""Says why the controller's socket gave no answer, and what to do about it."""

import grp
import http.client
import os
import pwd
import stat
from pathlib import Path
from typing import Final

_LOOK: Final = "`systemctl status migd-controller` tells"
MAX_SOCKET_PATH_BYTES: Final = 107  # sun_path of Linux, less its final zero


def why_unreachable(path: str, error: Exception, timeout_s: float) -> str:
    """Return what went wrong with the socket at `path`, and the next step."""
    match error:
        case FileNotFoundError():
            return (
                f"there is no controller socket at {path}; is the controller running? {_LOOK}. "
                "If it listens elsewhere, name its socket with --socket or MIGD_SOCKET"
            )
        case PermissionError():
            return _no_permission(Path(path))
        case ConnectionRefusedError() if not _is_socket(path):
            return f"{path} is not a socket; name the controller's socket with --socket or MIGD_SOCKET"
        case ConnectionRefusedError():
            return f"nobody listens on {path}: the controller has ended or is just starting; {_LOOK}"
        case TimeoutError():
            return (
                f"the controller did not answer on {path} within {timeout_s:g} s; it is overloaded or stuck: "
                "`journalctl -u migd-controller` says what it is doing"
            )
        case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
            return f"the controller closed the connection on {path} without an answer; has it just ended? {_LOOK}"
        case http.client.HTTPException():
            return f"what answers on {path} does not speak HTTP; is it the controller's socket?"
        case _ if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
            return (
                f"the path of a socket may have {MAX_SOCKET_PATH_BYTES} bytes, {path} has {len(os.fsencode(path))}; "
                "use a shorter one"
            )
        case OSError(strerror=words):
            return f"{path} cannot be used: {words or error}; is it the controller's socket? {_LOOK}"
        case _:
            return f"{path} cannot be used: {error}"


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True


def _no_permission(path: Path) -> str:
    barrier = _barrier(path)
    subject = "it" if barrier == path else f"the folder {barrier}"
    try:
        status = barrier.stat()
    except OSError:
        return f"you may not use {path}: {subject} is closed to you; ask for membership of the group that may enter it"
    needed = stat.S_IWGRP if barrier == path else stat.S_IXGRP
    if status.st_mode & needed:
        group, user = _name_of_group(status.st_gid), _name_of_user(os.geteuid())
        return (
            f"you may not use {path}: {subject} is open to group {group} only; "
            f"`sudo usermod -aG {group} {user}` makes you a member from the next login on"
        )
    owner = _name_of_user(status.st_uid)
    return f"you may not use {path}: {subject} is open to user {owner} only; `sudo -u {owner} migctl …` uses it"


def _barrier(path: Path) -> Path:
    """Return the first folder on the way that may not be entered, or the socket itself."""
    for folder in reversed(path.absolute().parents):
        if not os.access(folder, os.X_OK):
            return folder
    return path


def _name_of_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _name_of_group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
