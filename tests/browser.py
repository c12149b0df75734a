"""A page in a headless Chromium, driven over the pipe of its debugging protocol."""

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",  # a container has no user namespaces
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # there is no network
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Page:
    """An open page; `problems` holds what the console said and every request but the page's own.

    Args:
      path: the HTML file.
      profile: a folder for the browser.
      fragment: what follows `#` in the address.
    """

    def __init__(self, path: Path, profile: Path, fragment: str = ""):
        assert CHROMIUM is not None
        self.problems: list[str] = []
        self._number, self._buffer, self._loaded = 0, b"", False
        # Chromium reads commands from descriptor 3 and answers on 4.
        command = 'exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null'
        self._process = subprocess.Popen(
            ["sh", "-c", command, "sh", CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        try:
            self._attach()
            self.resize(1280, 900)
            self.open(path, fragment)
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        """Opens a tab."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, fragment: str = "") -> None:
        """Opens a page and waits until it is drawn."""
        self._loaded = False
        self.call("Page.navigate", url=f"{path.absolute().as_uri()}#{fragment}")
        while not self._loaded:
            self._notice(self._read())
        self.wait("document.body?.dataset.ready === 'true'")

    def resize(self, width: int, height: int) -> None:
        """Changes the size of the window; below 600 pixels it is a phone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command to the page and returns its result."""
        return self._call(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 60.0) -> None:
        """Waits until a JavaScript expression is true."""
        tries = f"{int(seconds * 20)}"
        assert self.evaluate(
            f"(async () => {{ for (let i = 0; i < {tries}; i += 1) {{ if ({condition}) return true;"
            " await new Promise((done) => setTimeout(done, 50)); } return false; })()"
        ), f"{condition} did not become true: {self.problems}"

    def press(self, key: str) -> None:
        """Presses a key, such as `Tab` or `ArrowRight`."""
        codes = {
            "Tab": 9,
            "Escape": 27,
            "Home": 36,
            "ArrowLeft": 37,
            "ArrowUp": 38,
            "ArrowRight": 39,
            "+": 187,
        }
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key],
            )  # fmt: skip

    def show_curve(self) -> None:
        """Brings a report's first curve in sight, where it is drawn."""
        self.evaluate("document.getElementById('curve-0').scrollIntoView()")
        self.wait("document.getElementById('curve-0').data !== undefined")

    def picture(self, x: float, y: float, side: int) -> np.ndarray:
        """What is seen in a square around a place of the window, float `[side, side, 3]` from 0 to 255."""
        left, top = self.evaluate("[scrollX, scrollY]")
        clip = {
            "x": left + x - side / 2,
            "y": top + y - side / 2,
            "width": side,
            "height": side,
            "scale": 1,
        }
        taken = self.call("Page.captureScreenshot", format="png", clip=clip)["data"]
        with Image.open(io.BytesIO(base64.b64decode(taken))) as image:
            return np.asarray(image.convert("RGB"), np.float32)

    def drag(self, place: list[float], by: tuple[float, float]) -> None:
        """Presses the mouse at a place (x, y) of the window, moves it, and lets go."""
        x, y = place
        steps = [
            ("mousePressed", 0.0),
            ("mouseMoved", 0.5),
            ("mouseMoved", 1.0),
            ("mouseReleased", 1.0),
        ]
        for kind, share in steps:
            self.call(
                "Input.dispatchMouseEvent",
                type=kind, x=x + share * by[0], y=y + share * by[1], button="left", buttons=1, clickCount=1,
            )  # fmt: skip

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._notice(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        """The next message of the browser."""
        while b"\0" not in self._buffer:
            part = self._process.stdout.read(1 << 20)
            assert part, "Chromium ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _notice(self, message: dict[str, Any]) -> None:
        """Keeps what a page that is in order does not do."""
        method, event = message.get("method"), message.get("params", {})
        self._loaded = self._loaded or method == "Page.loadEventFired"
        if method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert"):
            self.problems.append(str(event["args"]))
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(event["exceptionDetails"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.problems.append(event["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = event["request"]["url"]
            if not url.startswith(("data:", "blob:", "file:", "about:")):
                self.problems.append(f"request of {url}")

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(30)
        self._process.stdin.close()
        self._process.stdout.close()
