"""Actors of Ray: objects in processes of their own, on several cores or machines."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, Self

from fleet.errors import InvalidInputError

#: Functions by type: to what an object is passed as, and back.
Passed = Mapping[type, tuple[Callable[[Any], object], Callable[[Any], object]]]


#: Parts of a work that are at an actor at once: while it works on one, another waits, so that it never idles.
PARTS_AT_ACTOR = 2


class ActorLostError(RuntimeError):
    """An actor has ended, or cannot be reached: killed, or out of memory. What it computed is lost."""


class RayActors:
    """Actors of one class. Used in a `with` statement.

    A cluster that this process has joined with `ray.init` is used, or one is started here, and ended with it. That one
    listens on 127.0.0.1 only, if nobody has imported Ray before, and to nobody who does not know its token.

    Parameters
    ----------
    kind, arguments
        Class of the actors, and what each is made with.
    count
        Each takes one core.
    threads
        Of torch and BLAS in each actor.
    passed
        How objects of some types are passed to actors.
    """

    def __init__(
        self,
        kind: Callable[..., object],
        *arguments: object,
        count: int,
        threads: int = 1,
        passed: Passed = MappingProxyType({}),
    ) -> None:
        if count < 1:
            raise ValueError(f"a pool has at least one actor, got {count}")
        self._kind, self._arguments, self._count, self._threads = kind, arguments, count, threads
        self._passed = passed
        self._actors: list[Any] = []
        self._exits = ExitStack()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Any:
        return self._actors[number]

    def put(self, value: object) -> Any:
        """Return a reference to a value that many calls are to have: it is passed once."""
        return _imported().put(value)

    def got(self, promised: Any) -> Any:
        """Return what an actor's method returns, once it is there; raises what the method does.

        `ActorLostError` if the actor has ended.
        """
        errors = _imported().exceptions
        try:
            return _imported().get(promised)
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            raise ActorLostError(f"an actor of Ray is gone: {str(error).splitlines()[0]}") from error

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            entered.enter_context(_environment())
            ray = _imported()
            if not ray.is_initialized():
                with _own_signals():
                    ray.init(
                        num_cpus=self._count, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
                    )
                entered.callback(ray.shutdown)
            pass_as(self._passed)
            for each in self._passed:
                entered.callback(ray.util.deregister_serializer, each)
            environment = {"env_vars": {"OMP_NUM_THREADS": str(self._threads), "MKL_NUM_THREADS": str(self._threads)}}
            actor = ray.remote(num_cpus=1, runtime_env=environment)(self._kind)
            arguments = [ray.put(each) for each in self._arguments]
            for _ in range(self._count):
                self._actors.append(actor.remote(*arguments))
                entered.callback(ray.kill, self._actors[-1])
            self._exits = entered.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._actors = []
        self._exits.close()


def pass_as(passed: Passed) -> None:
    """Let this process pass objects of some types in its own way; an actor calls it for what it returns."""
    for each, (away, back) in passed.items():
        _imported().util.register_serializer(each, serializer=away, deserializer=back)


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InvalidInputError(f"Ray is not installed: {error}", hint="pip install 'reram-fleet[ray]'") from error
    return ray


@contextmanager
def _own_signals() -> Iterator[None]:
    """Leave SIGTERM as it is: Ray would end this process with SIGABRT and a stack of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _environment() -> Iterator[None]:
    """Have Ray listen on 127.0.0.1, obey nobody else, report to nobody, start no more than actors, and not warn.

    Whatever is set already stays.
    """
    wanted = {
        # Also on Linux that means: no cluster but this process's own.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # There are no accelerators that might be hidden from actors.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Nothing but actors is run, each in a process of its own: none that waits for tasks.
        "RAY_prestart_worker_first_driver": "0",
    }
    if "RAY_ADDRESS" not in os.environ:
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
