"""Signals as the processes find them that tests start.

A shell starts what runs in the background with SIGINT ignored, and ``nohup`` adds SIGHUP. What is
ignored stays so in every process that is started from there, and a test that presses Ctrl-C then
waits for ever. What is handled, however, is at its default again in a new program (execve(2)). So
the tests' own process goes on to pay no heed, by a handler, and its children are born as a user's.
SIGINT alone is heeded by the tests, too: some press Ctrl-C in their own process.
"""

from __future__ import annotations

import signal
import threading

_WANTED = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def children_get_defaults() -> None:
    """Replace what is ignored in this process by handlers that do nothing. Only a process's main
    thread may; another does not.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _WANTED:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(
                number, signal.default_int_handler if number == signal.SIGINT else lambda *_: None
            )
