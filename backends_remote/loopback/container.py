"""A container of the loopback: a process that runs the service on what comes in at its stdin.

It says "ready" first. A message is one line of JSON, ``{"method": …, "lengths": […]}``, and then
its arguments as raw bytes; an answer is one line, ``{"length": …}``, and then its bytes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from backends_remote import service as service_module
from backends_remote.place import Place
from backends_remote.service import Service


def main() -> None:
    """Serve until stdin ends. Arguments: the volume's folder, and the version to pretend."""
    folder, version = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    if version:
        vars(service_module)["__version__"] = version
    # The answers own stdout; whatever a library prints goes to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    service = Service(("opentsne",), Place(Path(folder)))
    methods: dict[str, Callable[..., bytes]] = {"wake": service.wake, "embed": service.embed}
    answers.write(b"ready\n")
    answers.flush()
    while line := sys.stdin.buffer.readline():
        message = json.loads(line)
        arguments = [sys.stdin.buffer.read(length) for length in message["lengths"]]
        answer = methods[message["method"]](*arguments)
        answers.write(json.dumps({"length": len(answer)}).encode() + b"\n" + answer)
        answers.flush()


if __name__ == "__main__":
    main()
