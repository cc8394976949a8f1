"""Chromium without a window, driven over its DevTools protocol through a pair of pipes."""

import json
import os
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def find() -> str | None:
    """Where the browser is, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """A browser with one page open; `events` are all that it told so far."""

    def __init__(self, profile: Path) -> None:
        program = find() or ""
        self.events: list[dict[str, Any]] = []
        self._n_sent = 0
        read, self._commands = os.pipe()
        answers, write = os.pipe()
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # Chromium reads commands from descriptor 3 and answers on 4.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{read} 4>&{write}', "bash", *command],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._answers = os.fdopen(answers, "rb")
        self._session: str | None = None
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer."""
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._n_sent:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, path: Path, *, width: int = 1100, height: int = 800) -> None:
        """Opens a file in a window of this size and waits until it is loaded."""
        self.resize(width, height)
        self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            self._receive()

    def resize(self, width: int, height: int) -> None:
        """Gives the window another size; narrow ones are telephones."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, scheme: str) -> None:
        """Asks for the dark or the light scheme of colours, and for little motion."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # clicks would miss
        ]
        self.send("Emulation.setEmulatedMedia", features=features)

    def evaluate(self, script: str) -> Any:
        """What a JavaScript expression gives on the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def complaints(self) -> list[dict[str, Any]]:
        """Errors and messages of the page since it was opened."""
        self.evaluate("1")  # whatever was still under way has been told by now
        methods = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
        return [event for event in self.events if event["method"] in methods]

    def requests(self) -> list[str]:
        """Addresses that the page asked for since it was opened, its own the first."""
        self.evaluate("1")
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def click(self, x: float, y: float) -> None:
        """Presses and releases the mouse at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.send(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    def press(self, key: str) -> None:
        """Presses and releases a key, named as JavaScript's `KeyboardEvent.key`."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        codes |= {"Tab": 9, " ": 32, "Home": 36, "End": 35}
        text = key if len(key) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key if len(key) > 1 else "",
                windowsVirtualKeyCode=codes.get(key, ord(key[0])),
                text=text if kind == "keyDown" else "",
            )

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return b64decode(shot["data"])

    def pdf(self) -> bytes:
        """The page as it prints."""
        return b64decode(self.send("Page.printToPDF", printBackground=False)["data"])

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        self.send("Browser.close")
        self._process.wait(timeout=30)
        os.close(self._commands)
        self._answers.close()

    def _receive(self) -> dict[str, Any]:
        """The next message, which ends in a zero byte."""
        parts = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            parts += byte
        message = json.loads(parts)
        if "method" in message:
            self.events.append(message)
        return message


def luminance(colour):
    """Relative luminance of `rgb(r, g, b)`, as the contrast of WCAG takes it."""
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one, other):
    low, high = sorted((one, other))
    return (high + 0.05) / (low + 0.05)
