"""Drives a headless Chromium over its debugging protocol: load a page, hear its complaints, take its picture."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import aiohttp

START_S = 30
ANSWER_S = 30
SETTLE_S = 0.15
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The browser's program, where one is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chrome:
    """One browser with one tab. Every method blocks; the protocol runs on a loop of its own."""

    def __init__(self, program: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gm-chrome-"))
        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--hide-scrollbars",
                "--no-first-run",
                "--remote-debugging-port=0",
                f"--user-data-dir={self._folder}",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._run(self._connect())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        self._run(self._disconnect())
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol."""
        return self._run(self._call(method, params))

    def set_cookie(self, url: str, name: str, value: str) -> None:
        """As if the server had set it."""
        self.call("Network.setCookie", url=url, name=name, value=value, httpOnly=True)

    def look_like(self, *, width: int, height: int = 900, theme: str = "light") -> None:
        """Size of the window, and the theme that the system has chosen."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def open(self, url: str) -> None:
        """Load a page and forget what earlier ones complained about."""
        self.complaints.clear()
        self.requests.clear()
        self._run(self._navigate(url))
        time.sleep(SETTLE_S)

    def evaluate(self, expression: str) -> Any:
        """The value of a script in the page; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(str(answer["exceptionDetails"].get("exception", answer["exceptionDetails"])))
        return answer["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S + ANSWER_S)

    async def _connect(self) -> None:
        port_file = self._folder / "DevToolsActivePort"
        async with asyncio.timeout(START_S):
            while not port_file.exists() or "\n" not in port_file.read_text():  # noqa: ASYNC110 - another process's file
                await asyncio.sleep(0.05)
            port = port_file.read_text().splitlines()[0]
            self._session = aiohttp.ClientSession()
            async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tabs = await answer.json()
        tab = next(item for item in tabs if item["type"] == "page")
        self._socket = await self._session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=64 * 1024**2)
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{domain}.enable", {})

    async def _disconnect(self) -> None:
        self._reader.cancel()
        await self._socket.close()
        await self._session.close()

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        answer = await asyncio.wait_for(self._waiting[number], ANSWER_S)
        del self._waiting[number]
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    async def _navigate(self, url: str) -> None:
        self._loaded.clear()
        answer = await self._call("Page.navigate", {"url": url})
        if answer.get("errorText"):
            raise AssertionError(f"{url}: {answer['errorText']}")
        await asyncio.wait_for(self._loaded.wait(), ANSWER_S)

    async def _read(self) -> None:
        async for message in self._socket:
            data = message.json()
            if "id" in data:
                waiting = self._waiting.get(data["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(data)
            else:
                self._note(data["method"], data["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"])))
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning", "assert"}:
                self.complaints.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case _:
                pass
