"""A mail server for the tests: enough of RFC 5321 to take mail and to refuse an address."""

from __future__ import annotations

import asyncio
import threading


class MailServer:
    """Takes mail without TLS on a free port of this machine."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> MailServer:
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(text: str) -> None:
            writer.write(text.encode() + b"\r\n")

        say("220 test")
        recipients: list[str] = []
        while line := (await reader.readline()).decode().strip():
            word = line.split(":")[0].upper()
            if word.startswith("EHLO"):
                say("250-test\r\n250 8BITMIME")
            elif word == "RCPT TO":
                address = line.split("<")[1].split(">")[0]
                refused = address.startswith("nobody")
                say("550 no such user" if refused else "250 ok")
                recipients += [] if refused else [address]
            elif word == "DATA":
                say("354 go on")
                data = (await reader.readuntil(b"\r\n.\r\n")).decode()
                self.mails.append((recipients, data))
                recipients = []
                say("250 ok")
            elif word == "QUIT":
                say("221 bye")
                break
            else:
                say("250 ok")
        writer.close()
