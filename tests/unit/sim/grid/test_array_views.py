from __future__ import annotations

import gc
import pickle
import weakref

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.app.message import RecordDict

from fleet.sim.grid.views import ArrayView

BATCHES = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.arange(2, dtype=np.int64),
    np.zeros((2, 0), np.float64),
    np.asfortranarray(np.arange(12, dtype=np.int32).reshape(2, 2, 3)),
]


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: f"{batch.dtype}{batch.shape}")
def test_a_view_is_to_flower_what_a_copy_is(batch: np.ndarray) -> None:
    view, copy = ArrayView(batch, 1), Array(batch[1, ...].copy())
    assert isinstance(view, Array)
    assert (view.dtype, view.shape, view.stype) == (copy.dtype, copy.shape, copy.stype)
    assert np.array_equal(view.numpy(), copy.numpy())
    assert view.numpy().shape == batch.shape[1:]


@pytest.mark.parametrize("batch", BATCHES[:3], ids=lambda batch: f"{batch.dtype}{batch.shape}")
def test_bytes_and_ids_are_those_of_a_copy(batch: np.ndarray) -> None:
    view, copy = ArrayView(batch, 1), Array(batch[1, ...])
    assert view.data == copy.data
    assert view.object_id == copy.object_id
    assert ArrayRecord({"w": view}).object_id == ArrayRecord({"w": copy}).object_id
    inflated = Array.inflate(view.deflate(), view.children)
    assert np.array_equal(inflated.numpy(), copy.numpy())


def test_a_view_shares_the_batch_and_cannot_be_set() -> None:
    batch = np.zeros((2, 3), np.float32)
    view = ArrayView(batch, 0)
    batch[0, 1] = 5.0
    assert view.numpy()[1] == 5.0
    with pytest.raises(AttributeError):
        view.data = b""


def test_views_of_one_batch_are_pickled_with_one_batch() -> None:
    batch = np.ones((50, 1000), np.float32)
    views = pickle.loads(pickle.dumps([ArrayView(batch, index) for index in range(50)]))
    assert np.array_equal(views[49].numpy(), batch[49])
    assert views[0]._batch is views[49]._batch


def test_a_batch_is_freed_with_its_last_view_without_a_collection() -> None:
    class Batch(np.ndarray):
        pass

    batch = np.ones((2, 3), np.float32).view(Batch)
    gone = weakref.ref(batch)
    record = RecordDict({"arrays": ArrayRecord()})
    record.array_records["arrays"]["w"] = ArrayView(batch, 0)
    del batch
    gc.disable()
    try:
        del record
        # A plain RecordDict's groups are circles; those of replies are not: see the test of the grid.
        assert gone() is not None
    finally:
        gc.enable()
    gc.collect()
    assert gone() is None
