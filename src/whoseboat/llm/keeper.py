"""Run as a script: starts a command, and ends it when whoever started the script has ended, however that was.

    python keeper.py PATIENCE COMMAND...

The command is in a process group of its own. Standard input is a pipe that nobody writes to; once its other end is
closed, which a killed process does as well, the group is asked to end, and made to after PATIENCE seconds. If the
command ends by itself, what is left of its group is killed, and the script ends with the command's exit code (128 + N
for signal N). Nothing of `whoseboat` is imported here, so that starting the script takes no time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

_LOOK_SECONDS = 0.05
# What was killed is gone at once; where nobody collects it, it is seen for ever.
_AFTER_KILL_SECONDS = 1.0


def keep(command: list[str], patience: float) -> int:
    """Run a command until it ends or standard input does; return its exit code."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - the user's own

    is_over = threading.Event()

    def follow() -> None:
        while os.read(0, 1024):
            pass
        is_over.set()
        end_group(server.pid, signal.SIGTERM, patience)
        end_group(server.pid, signal.SIGKILL, _AFTER_KILL_SECONDS)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    code = server.wait()
    if is_over.is_set():  # its other processes have as long as it had
        follower.join()
    end_group(server.pid, signal.SIGKILL, _AFTER_KILL_SECONDS)
    return code if code >= 0 else 128 - code


def end_group(group: int, by: signal.Signals, patience: float) -> None:
    """Send a signal to a process group, and wait until nothing is left of it, so many seconds at most."""
    until = time.monotonic() + patience
    try:
        os.killpg(group, by)
        while time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # gone; some systems say the latter of what has ended
        return


if __name__ == "__main__":
    sys.exit(keep(sys.argv[2:], float(sys.argv[1])))
