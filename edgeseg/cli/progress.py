"""What a training shows while it runs: a line for each epoch, and on a terminal a live one."""

import contextlib
import shutil
import signal
import sys
from typing import Any, Callable, Iterator, List, NamedTuple


class Display(NamedTuple):
    """Where a training reports to."""

    report: Callable[[Any], None]  # its edgeseg.models.train.Progress
    note: Callable[[str], None]  # what is said once


@contextlib.contextmanager
def training_display() -> Iterator[Display]:
    """Show a training on stderr. Raises KeyboardInterrupt at the next step where a library has swallowed a Ctrl-C."""
    show = _Live() if sys.stderr.isatty() else _Log()
    try:
        with _heeding_ctrl_c(show) as report:
            yield Display(report, show.note)
    finally:
        show.end()


@contextlib.contextmanager
def _heeding_ctrl_c(report: Callable[[Any], None]) -> Iterator[Callable[[Any], None]]:
    """`report`, that also stops where a library has swallowed a Ctrl-C (Keras does)."""
    pressed: List[int] = []

    def press(number: int, frame: Any) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    def report_or_stop(progress: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        report(progress)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield report_or_stop
    except Exception:
        if pressed:  # a library made an error of its own of it
            raise KeyboardInterrupt
        raise
    finally:
        signal.signal(signal.SIGINT, before)


class _Log:
    """A line for each epoch."""

    def note(self, text: str) -> None:
        """What is said once."""
        print(text, file=sys.stderr, flush=True)

    def __call__(self, progress: Any) -> None:
        if progress.done:
            print(_line(progress), file=sys.stderr, flush=True)

    def end(self) -> None:
        """There is no open line."""


class _Live(_Log):
    """One line on the terminal, rewritten at every step; each epoch leaves its last."""

    def __init__(self) -> None:
        self._is_open = False

    def __call__(self, progress: Any) -> None:
        columns = shutil.get_terminal_size().columns
        line = _line(progress)[: max(20, columns - 1)]
        sys.stderr.write("\r" + line + "\x1b[K" + ("\n" if progress.done else ""))
        sys.stderr.flush()
        self._is_open = not progress.done

    def end(self) -> None:
        """Leave the cursor on a new line."""
        if self._is_open:
            sys.stderr.write("\n")


def _line(progress: Any) -> str:
    is_known = progress.val_miou == progress.val_miou  # not NaN
    minutes, seconds = divmod(int(progress.left_s), 60)
    return "epoch {}/{}  step {}/{}  loss {:.3f}  val mIoU {}  {:.1f} images/s  {}:{:02}:{:02} left".format(
        progress.epoch,
        progress.epochs,
        progress.step,
        progress.steps,
        progress.loss,
        "{:.1f} %".format(100 * progress.val_miou) if is_known else "-",
        progress.images_per_s,
        minutes // 60,
        minutes % 60,
        seconds,
    )
