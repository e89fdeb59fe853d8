"""Checkpoint of a simulation: everything in it as bytes, so that a run which was killed goes on as if it had not been.

The objects are pickled as they are. What has no pickle (keys, journals, locks) is written by what it is made of.
"""

from __future__ import annotations

import functools
import inspect
import io
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_node.storage.journal import Journal
from fleet.coordinator.unit import UnitOfWork
from fleet.store.database import Store
from fleet.store.touched import Contacts, Touched

_LOCKS = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        match obj:
            case Ed25519PrivateKey():
                return _signing_key, (obj.private_bytes_raw(),)
            case X25519PrivateKey():
                return _exchange_key, (obj.private_bytes_raw(),)
            case Journal():
                return Journal.in_memory, (obj.node_id, obj.content())
            case functools._lru_cache_wrapper() if inspect.ismethod(obj.__wrapped__):
                return _cache, (obj.__wrapped__, obj.cache_parameters()["maxsize"])
            case weakref.WeakKeyDictionary():
                return weakref.WeakKeyDictionary, (dict(obj),)
            case UnitOfWork():
                # Of a transaction that is over: nobody asks for it any more.
                return type(None), ()
            case Store():
                return _store, (obj.content(), obj.now_ms, obj.contacts, obj.on_commit, obj.epoch)
        if (make := _LOCKS.get(type(obj))) is not None:
            return make, ()
        return super().reducer_override(obj)


def _signing_key(raw: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(raw)


def _exchange_key(raw: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(raw)


def _cache(method: Callable[..., Any], maxsize: int | None) -> Callable[..., Any]:
    return functools.lru_cache(maxsize=maxsize)(method)


def _store(
    content: bytes,
    now_ms: Callable[[], int],
    contacts: Contacts,
    on_commit: Callable[[Touched], None],
    epoch: int | None,
) -> Store:
    store = Store.in_memory(content, now_ms=now_ms, epoch=epoch)
    store.contacts, store.on_commit = contacts, on_commit
    return store


def saved(simulation: object) -> bytes:
    """Return a simulation as bytes."""
    file = io.BytesIO()
    _Pickler(file).dump(simulation)
    return file.getvalue()


def restored(content: bytes) -> object:
    """Return the simulation of some bytes, which this program must have written."""
    return pickle.loads(content)
