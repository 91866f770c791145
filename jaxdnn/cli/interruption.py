"""Handling of Ctrl-C and other signals while a compiled program runs."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

__all__ = ["Interruption"]

T = TypeVar("T")


class Interruption:
    """Turns signals into KeyboardInterrupt, and records which signal was received.

    The exception alone is not enough: it is lost if it is raised in a callback of the interpreter.

    Attributes:
      signal: number of the signal received, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # A background job ignores SIGINT, and should continue to.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._come)

    def _come(self, number: int, frame: object) -> None:
        self.signal = number
        raise KeyboardInterrupt

    def wait_for(self, function: Callable[[], T]) -> T:
        """Call a function in a thread, so that signals are handled while a compiled program runs.

        Args:
          function: what to call.

        Returns:
          Its result.

        Raises:
          KeyboardInterrupt: a signal was received; the thread runs until the process exits.
          BaseException: whatever the function raised.

        Example:
          >>> Interruption().wait_for(lambda: 6 * 7)
          42
        """
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=call, daemon=True).start()
        while self.signal is None:
            done, _ = wait([future], timeout=0.2)
            if done:
                return future.result()
        raise KeyboardInterrupt
