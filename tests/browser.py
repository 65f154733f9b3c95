"""Headless Chromium, driven over the WebDriver protocol by its own chromedriver; nothing is installed for it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TRIES = 5
PATIENCE = 30.0  # seconds for anything the browser does
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip


def missing() -> str:
    """Why there is no browser to test in; "" where there is one."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed here: {', '.join(absent)}" if absent else ""


class Browser:
    """One window. `console` and `requests` tell what happened since they were last asked."""

    def __init__(self, address: str, profile: Path, flags: tuple[str, ...]) -> None:
        self._address = address
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {
                "binary": shutil.which("chromium"),
                "args": [*FLAGS, *flags, f"--user-data-dir={profile}"],
            },
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{answer['sessionId']}"

    def open(self, file: Path) -> None:
        self._call("POST", f"{self._session}/url", {"url": file.resolve().as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that `script` returns."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def wait_for(self, script: str) -> Any:
        """The first true value that `script` returns."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"still not: {script}"
            time.sleep(0.05)
        return value

    def click(self, selector: str) -> None:
        """As a user would: the element must be there, in view and not covered."""
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        (element,) = found.values()
        self._call("POST", f"{self._session}/element/{element}/click", {})

    def resize(self, width: int, height: int) -> None:
        self._call("POST", f"{self._session}/window/rect", {"width": width, "height": height})

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    def console(self) -> list[str]:
        """Warnings and errors; of anything the page was refused, too."""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def requests(self) -> list[str]:
        """The addresses that were asked for."""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def close(self) -> None:
        self._call("DELETE", self._session)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.load(error)["value"]["message"]) from None


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Browser]:
    """A browser with a fresh profile, gone at the end."""
    with _driver() as port:
        browser = Browser(f"http://127.0.0.1:{port}", profile, flags)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _driver() -> Iterator[str]:
    """The port of a driver. Two that start at once may choose the same one: the second one tries again."""
    for _ in range(TRIES):
        with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
            try:
                assert driver.stdout is not None
                found = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)
                if port := next((match[1] for match in found if match), None):
                    yield port
                    return
            finally:
                driver.terminate()
    raise RuntimeError("chromedriver found no port")
