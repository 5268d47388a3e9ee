# SPDX-License-Identifier: Apache-2.0
"""The entry point: answers ``--version`` at once and leaves the rest to `ashore.cli`."""

import gc
import os
import sys

_ALLOCATIONS = 1_000_000
"""Between two searches for garbage."""
_INTERRUPTED = 130
"""As `ashore.errors.ExitCode` has it, which may not be there yet."""


def main() -> None:
    """Run the command line and exit with its code."""
    _open_closed()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from ashore import __version__

        sys.stdout.write(f"ashore {__version__}\n")
        return
    # Modules, and records by the thousand, are no garbage; the searches were a quarter of a run that does nothing.
    gc.set_threshold(_ALLOCATIONS)
    _end_in_order()
    try:
        from ashore.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before anything began
        code = _INTERRUPTED
    _leave(code)


def _open_closed() -> None:
    """Standard streams that whoever runs us has closed lead nowhere: the next file that is opened would become one."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
            os.set_inheritable(number, True)
            stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _end_in_order() -> None:
    """Told to end, by PID 1, `timeout` or a terminal that is gone, go back as if somebody had pressed Ctrl-C.

    Once: `timeout`, a shell whose terminal goes and the end of a session tell it twice, and would cut the way back off.
    Who cannot wait for that presses Ctrl-C, or kills.
    """
    import signal
    import stat

    def end(number: int, _: object) -> None:
        for told in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(told) is end:
                signal.signal(told, lambda *_: None)  # not SIG_IGN, which programs that we run would have as well
        for stream in (1, 2) if number == signal.SIGHUP else ():
            if stat.S_ISCHR(os.fstat(stream).st_mode):  # the terminal: what is said on the way back would fail
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        raise KeyboardInterrupt

    for told in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(told) is signal.SIG_DFL:  # nohup(1) has it ignored
            signal.signal(told, end)


def _leave(code: int) -> None:
    """Exit, and leave it to the kernel to take apart what was read: Python would do so piece by piece."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)  # The interpreter says so, as of any program whose output goes nowhere.
    import threading  # by now it is there

    if threading.active_count() > 1:
        sys.exit(code)  # Output waits for a slow reader (`mechanisms.output`).
    os._exit(code)


if __name__ == "__main__":
    main()
