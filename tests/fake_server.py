"""A program like a server of a language model, that starts slowly, dies and is silent as it is told. Run as a script.

It answers as `llm_server` does. What happens is written to the file `--events`, a line each: `start PID PORT`,
`child PID`, `ask DIGEST` and `answer DIGEST`, of the messages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from llm_server import persona_reply, usage

_LOCK = Lock()


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--die-at", type=int, default=-1, help="be killed when so many requests came, the first time")
    parser.add_argument("--always", action="store_true", help="not the first time only")
    parser.add_argument("--exit", type=int, help="end at once with this code")
    parser.add_argument("--say", default="", help="write this at the start; $NAME is of the environment")
    parser.add_argument("--port-taken", type=Path, help="say so where this file is not there, and make it")
    parser.add_argument("--start-after", type=float, default=0)
    parser.add_argument("--health", type=int, default=200, help="the status of /health")
    parser.add_argument("--slow", type=float, default=0, help="seconds an answer takes")
    parser.add_argument("--child", action="store_true", help="start a process")
    parser.add_argument("--stubborn", action="store_true", help="it does not end when it is asked to")
    given = parser.parse_args()
    tell(given.events, f"start {os.getpid()} {given.port}")
    if given.say:
        sys.stderr.write(os.path.expandvars(given.say) + "\n")
    if given.port_taken and not given.port_taken.exists():
        given.port_taken.touch()
        sys.exit("OSError: [Errno 98] Address already in use")
    if given.exit is not None:
        sys.exit(given.exit)
    if given.child:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if given.stubborn else signal.SIG_DFL)
        tell(given.events, f"child {subprocess.Popen(['sleep', '1000']).pid}")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(given.start_after)
    serve(given)


def serve(given: argparse.Namespace) -> None:
    """Serve until killed."""
    starts = sum(line.startswith("start") for line in given.events.read_text().splitlines())
    may_die = given.die_at >= 0 and (given.always or starts == 1)
    asked = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Say whether it is healthy."""
            self.answer(given.health if self.path == "/health" else 200, {"data": []})

        def do_POST(self) -> None:
            """Answer, or die."""
            nonlocal asked
            messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
            digest = hashlib.sha256(json.dumps(messages).encode()).hexdigest()[:16]
            time.sleep(given.slow)
            with _LOCK:
                tell(given.events, f"ask {digest}")
                if may_die and asked == given.die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                asked += 1
                content = persona_reply(messages)
                message = {"role": "assistant", "content": content}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self.answer(200, {"choices": [choice], "usage": usage(messages, content)})
                tell(given.events, f"answer {digest}")

        def answer(self, status: int, value: dict[str, Any]) -> None:
            """Send an answer."""
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *words: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # where it is full, a connection takes seconds

    Server((given.host, given.port), Handler).serve_forever()


def tell(events: Path, line: str) -> None:
    """Write a line."""
    with events.open("a") as file:
        file.write(f"{line}\n")


if __name__ == "__main__":
    main()
