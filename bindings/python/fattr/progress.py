# SPDX-License-Identifier: Apache-2.0
"""The options of long calls: progress shown or told, deadlines, Ctrl-C."""
from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from typing import Any, Callable, Iterator, List, Optional, Union

from . import _native
from .loss import Gradient, Loss, number
from .trace import Trace, into

#: A function of (stage, done, total) whose true result cancels; True: a bar on standard error.
Progress = Union[bool, Callable[[str, int, int], Any], None]


class _Running:
    """Long calls under way. C may not call back into an interpreter that is gone, so at exit those of daemon threads are cancelled and waited for."""

    def __init__(self) -> None:
        self.exiting = False
        self.forget()
        atexit.register(self.stop)
        os.register_at_fork(after_in_child=self.forget)  # the parent's calls do not go on in a child

    def forget(self) -> None:
        self.changed = threading.Condition()
        self.calls = 0

    def stop(self) -> None:
        with self.changed:
            self.exiting = True
            self.changed.wait_for(lambda: not self.calls, timeout=30)

    def __enter__(self) -> None:
        with self.changed:
            if self.exiting:
                raise SystemExit
            self.calls += 1

    def __exit__(self, *_: Any) -> None:
        with self.changed:
            self.calls -= 1
            self.changed.notify_all()
        if self.exiting:
            raise SystemExit  # ends the thread without a word


_running = _Running()


@contextlib.contextmanager
def long_options(*, progress: Progress = None, timeout: Optional[float] = None, blocks: Optional[str] = None, loss: Optional[Loss] = None,
                 subset: Optional[str] = None, layers: Optional[str] = None, trace: Trace = None, **numbers: Any) -> Iterator[Any]:
    """The C options, for one long call. Python would lose an exception raised in a callback, so they are caught and raised when the call is over."""
    for ours in ("progress_user", "timeout_ms", "output_gradient", "output_gradient_user"):
        if ours in numbers:
            raise TypeError(f"there is no option {ours!r}")
    raised: List[BaseException] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running)
        told = stack.enter_context(_bar()) if progress is True else progress or None

        @_native.PROGRESS  # type: ignore[untyped-decorator, unused-ignore]
        def tick(_user: Any, stage: bytes, done: int, total: int) -> int:
            try:
                return int(_running.exiting or bool(raised) or bool(told and told(_native.decode(stage), done, total)) or bool(raised))
            except BaseException as e:
                raised.append(e)
                return 1

        stack.enter_context(_held_interrupts(raised))
        try:
            o = _native.options("fa_sketch_options", progress=tick)
            gradient = Gradient(loss, raised) if callable(loss) else None
            kept = into(o, trace)  # before the rest: a preset sets some of it
            yield _native.assign(o, layers=_native.encode(layers), blocks=None if blocks is None else _native.choice(_native.BLOCKS, "blocks", blocks),
                                 loss=None if loss is None else number(loss), output_gradient=gradient and gradient.c,
                                 subset=None if subset is None else _native.choice(_native.SUBSETS, "subset", subset),
                                 timeout_ms=None if timeout is None else max(1, round(timeout * 1000)), **numbers)
            del kept
        except Exception:
            if not raised:
                raise
    if raised:
        raise raised[0]


@contextlib.contextmanager
def _held_interrupts(raised: List[BaseException]) -> Iterator[None]:
    """Ctrl-C goes into `raised`: it may strike between C and the first line of a callback, where nothing could catch it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def hold(number: int, frame: Any) -> None:
        try:
            before(number, frame)
        except BaseException as e:
            raised.append(e)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """tqdm's bar where it is installed, otherwise one line that is written over."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        def say(stage: str, done: int, total: int) -> None:
            print(f"\r{stage} {100 * done // max(total, 1):3d} %", end="", file=sys.stderr, flush=True)
        try:
            yield say
        finally:
            print(file=sys.stderr)
        return
    with tqdm(unit="inputs", leave=False) as bar:
        def move(stage: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_description(stage, refresh=False)
            bar.update(done - bar.n)
        yield move
