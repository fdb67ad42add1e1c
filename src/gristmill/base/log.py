"""Structured logs: text for people, JSON for machines, with request, batch and row ids bound in, without secrets.

Secrets are taken out of the finished line, so it does not matter where in a message, a field or a traceback they were.
Libraries that print their own records, and exceptions that nobody caught, go through the same filter.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

import structlog

from gristmill.base.conceal import redact


def configure_logging(*, log_format: str, level: str, role: str) -> None:
    """Set up structlog and the standard library's logging once per process, to standard error."""
    threshold: int = getattr(logging, level.upper())
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )

    def renderer(logger: structlog.typing.WrappedLogger, name: str, event: structlog.typing.EventDict) -> str:
        return redact(str(render(logger, name, event)))

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    logging.setLogRecordFactory(RedactedRecord)
    sys.excepthook = _print_uncaught
    threading.excepthook = _print_uncaught_in_thread
    structlog.contextvars.bind_contextvars(role=role)


def get_log(name: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of one module."""
    return structlog.get_logger(room=name)


class RedactedRecord(logging.LogRecord):
    """A record of the standard library's logging that no handler, whoever made it, can print a secret from."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # pyright: ignore[reportArgumentType]  # the factory's arguments, whatever they are
        if self.exc_info and self.exc_info[1] is not None:
            # Formatters take the text that is there instead of making their own.
            self.exc_text = redact("".join(traceback.format_exception(self.exc_info[1])).rstrip())

    def getMessage(self) -> str:  # noqa: N802 - the name of the method that it refines
        """The message with its arguments."""
        return redact(super().getMessage())


def _print_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _print_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _print_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
