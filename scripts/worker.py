"""A benchmark's other side, in an environment of its own."""

import json
import subprocess
from pathlib import Path


class Worker:
    """A script in a process and environment of its own, which answers a request a line."""

    def __init__(self, python: Path, script: Path, n_threads: int) -> None:
        self._script = script
        self._process = subprocess.Popen(
            [python, script, str(n_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self.ask()

    def ask(self, **request):
        """Sends a request, unless there is none, and returns the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if request:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._script} has ended; its message is above")
        return json.loads(answer)
