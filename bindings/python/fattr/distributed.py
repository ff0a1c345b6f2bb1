# SPDX-License-Identifier: Apache-2.0
"""Scoring and building on a Dask cluster. Dask and distributed are imported when something here is called; the workers need this package too.

client: a distributed.Client; None: the current one.
A model that was loaded from a path is read by each worker at that path, and refused there when it is another network; one made of bytes is sent.
"""
from __future__ import annotations

import os
import pickle
import threading
from typing import Any, Dict, Iterable, List, Optional, Tuple

import numpy as np

from . import errors
from ._arrays import Inputs
from .model import Model, Path
from .refset import RefSet, as_refset
from .scorer import Result, ScorerPool
from .sketch import Sketch
from .trace import Trace, chain_ids

__all__ = ["Scorer", "build_chains", "build_shards"]


class Scorer:
    """Scores on the workers. Sketch and model are sent once to each worker, which keeps them ready as long as this object lives; options as of fattr.Scorer."""

    def __init__(self, sketch: Sketch, model: Model, *, client: Any = None, **options: Any) -> None:
        pool = ScorerPool(sketch, model, options)
        self._none = pool.score(np.empty(0, np.float32))  # the fields of a result, their types and shapes
        self._names = [i.name for i in model.inputs]
        self._client = _client(client)
        self._sent = _send(self._client, pool)

    def score(self, x: Inputs) -> Result:
        """Scores a dask array [n, ...], for several inputs a tuple of them by position or a dict by name, chunk by chunk of the first axis.

        The result's fields are dask arrays, to be computed on this scorer's cluster. Each chunk is scored once in one dask.compute(result._asdict()),
        and once more in the next: persist what is asked for again. `scores` has every name, NaN where it was not computed.
        """
        import dask
        from dask import array as da
        names, arrays = list(x) if isinstance(x, dict) else None, _aligned(x)
        task = dask.delayed(_score_chunk, pure=False)
        parts = list(zip(*(a.to_delayed().ravel() for a in arrays)))
        rows = arrays[0].chunks[0]
        results = [task(self._sent, names, isinstance(x, tuple), *p) for p in parts]

        def field(like: Any, *key: str) -> Any:
            if like is None:
                return None
            if isinstance(like, dict):
                return {name: field(column, *key, name) for name, column in like.items()}
            return da.concatenate([da.from_delayed(dask.delayed(_field)(r, key), (n, *like.shape[1:]), like.dtype) for r, n in zip(results, rows)],
                                  allow_unknown_chunksizes=True)
        return Result(**{name: field(like, name) for name, like in self._none._asdict().items()})

    def score_files(self, paths: Iterable[Path]) -> Result:
        """Scores .npy and .npz files that the workers can read, one task for each; the results in the order of files as NumPy arrays.

        A .npz file holds one array per input name; for a model with one input `x` or that name.
        """
        futures = [self._client.submit(_score_file, self._sent, os.fsdecode(os.path.abspath(p)), self._names, pure=False) for p in paths]
        return _joined(_gather(self._client, futures)) if futures else self._none


def build_chains(model: Model, references: Any, calibration: Any = None, *, trace: Trace, client: Any = None, **options: Any) -> Sketch:
    """Sketch.build() of a trace sketch with each of trace["chains"] built by a task of its own, then merged: the same to the bit on CPUs of one class.

    Checkpoints and progress are not taken: a task that was lost with its worker begins anew, and Dask's dashboard shows the rest.
    """
    _refuse_progress(options)
    given = {"preset": trace} if isinstance(trace, str) else dict(trace or {})
    if given.get("checkpoint") is not None or given.get("resume"):
        raise errors.error("FA_ERR_ARGUMENT", "trace: there are no checkpoints on a cluster")
    ids, context = chain_ids(trace), model.context
    client = _client(client)
    sent = _send(client, (model, as_refset(references, context), as_refset(calibration, context), given, options))
    files = _gather(client, [client.submit(_build_chain, sent, k, pure=False) for k in ids])
    return Sketch.merge([Sketch.from_bytes(f, context=context) for f in files])


def build_shards(model: Model, references: Any, calibration: Any = None, *, shards: Optional[int] = None, client: Any = None, **options: Any) -> Sketch:
    """Sketch.build() with the references in `shards` parts (default: one for each worker), each sketched by a task of its own, and merged here.

    Merging signs all references anew, on the model's context and its threads, and calibrates: what is shared out is the first of two passes. The result
    is Sketch.build()'s up to the rounding of moments and the order of references; see Sketch.merge_shards.
    """
    _refuse_progress(options)
    client = _client(client)
    whole = references if isinstance(references, RefSet) else RefSet(references, context=model.context)
    parts = _split(whole, len(client.nthreads()) if shards is None else shards)
    sent = _send(client, (model, {**options, "keep_moments": True}))
    places = client.scatter([_Sent(p) for p in parts], hash=False)
    files = _gather(client, [client.submit(_build_shard, sent, p, pure=False) for p in places])
    kept = {name: options[name] for name in ("batch", "keep_moments", "timeout") if name in options}
    return Sketch.merge_shards(model, [Sketch.from_bytes(f, context=model.context) for f in files], parts, calibration, **kept)


class _Sent:
    """Pickled by the client. A worker unpickles it in the first task that needs it, where errors have a way back, and keeps the object beside the bytes."""

    def __init__(self, value: Any) -> None:
        self._take(pickle.dumps(value))

    def _take(self, data: bytes) -> None:
        self._data, self._lock, self._value = data, threading.Lock(), None

    def __getstate__(self) -> bytes:
        return self._data

    __setstate__ = _take

    def get(self) -> Any:
        with self._lock:
            if self._value is None:
                self._value = pickle.loads(self._data)
            return self._value


def _client(client: Any) -> Any:
    try:
        from distributed import get_client
    except ImportError as e:
        raise ImportError("fattr.distributed needs dask and distributed (Debian: python3-distributed)") from e
    if client is not None:
        return client
    try:
        return get_client()
    except ValueError:
        raise errors.error("FA_ERR_STATE", "there is no Dask cluster yet: make a distributed.Client first") from None


def _send(client: Any, value: Any) -> Any:
    return client.scatter(_Sent(value), broadcast=True, hash=False)


def _gather(client: Any, futures: List[Any]) -> List[Any]:
    try:
        return client.gather(futures)  # type: ignore[no-any-return]
    except BaseException:
        client.cancel(futures)
        raise


def _refuse_progress(options: Dict[str, Any]) -> None:
    if options.get("progress"):
        raise errors.error("FA_ERR_ARGUMENT", "progress: tasks on a cluster do not report it; Dask's dashboard does")


def _aligned(x: Inputs) -> List[Any]:
    """The dask arrays of x, in the same chunks along the first axis and in one along the others."""
    from dask import array as da
    given = list(x.values()) if isinstance(x, dict) else list(x) if isinstance(x, tuple) else [x]
    for a in given:
        if not isinstance(a, da.Array):
            raise errors.error("FA_ERR_DTYPE", f"a dask array is taken, not a {type(a).__name__}; fattr.Scorer takes others")
        if not a.ndim:
            raise errors.error("FA_ERR_SHAPE", "each input is an array [n, ...]")
    given = [a.rechunk({axis: -1 for axis in range(1, a.ndim)}) if a.ndim > 1 and max(a.numblocks[1:]) > 1 else a for a in given]
    rows = given[0].chunks[0] if given else ()
    if not given or len({a.shape[0] for a in given if not np.isnan(a.shape[0])}) > 1:
        raise errors.error("FA_ERR_SHAPE", "each input is an array [n, ...] with the same n")
    aligned = [a if a.chunks[0] == rows or np.isnan(a.shape[0]) else a.rechunk({0: rows}) for a in given]
    if len({a.numblocks[0] for a in aligned}) > 1:
        raise errors.error("FA_ERR_SHAPE", "arrays of unknown length have different numbers of chunks: dask.array.Array.compute_chunk_sizes() helps")
    return aligned


def _split(whole: RefSet, shards: int) -> List[RefSet]:
    if not 1 <= shards <= len(whole) // 2:
        raise errors.error("FA_ERR_ARGUMENT", f"shards: {shards}; a shard has at least two references, and there are {len(whole)}")
    inputs, labels, ids, mask, target = whole.arguments()
    ends = [len(whole) * k // shards for k in range(shards + 1)]

    def part(rows: slice) -> RefSet:
        x = {name: a[rows] for name, a in inputs.items()} if isinstance(inputs, dict) else tuple(a[rows] for a in inputs)
        mine: Dict[str, Any] = {name: None if a is None else a[rows] for name, a in (("labels", labels), ("ids", ids), ("mask", mask), ("target", target))}
        return RefSet(x, **mine)
    return [part(slice(*e)) for e in zip(ends, ends[1:])]


def _joined(results: List[Result]) -> Result:
    def join(columns: List[Any]) -> Any:
        if columns[0] is None:
            return None
        if isinstance(columns[0], dict):
            return {name: join([c[name] for c in columns]) for name in columns[0] if all(name in c for c in columns)}
        return np.concatenate(columns)
    return Result(*map(join, zip(*results)))


# ---- tasks


def _score_chunk(sent: _Sent, names: Optional[List[str]], several: bool, *arrays: Any) -> Result:
    return sent.get().score(dict(zip(names, arrays)) if names is not None else arrays if several else arrays[0])  # type: ignore[no-any-return]


def _field(result: Result, key: Tuple[str, ...]) -> Any:
    column = getattr(result, key[0])
    return column if len(key) == 1 else column.get(key[1], np.full(len(result.score), np.nan))


def _score_file(sent: _Sent, path: str, names: List[str]) -> Result:
    try:
        return sent.get().score(_read(path, names))  # type: ignore[no-any-return]
    except errors.FattrError as e:
        raise errors.error(e.status, f"{path}: {e.message}") from None


def _read(path: str, names: List[str]) -> Inputs:
    try:
        loaded = np.load(path, mmap_mode="r")
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if len(names) == 1:
                names = ["x" if "x" in loaded.files else names[0]]
            missing = [name for name in names if name not in loaded.files]
            if missing:
                raise errors.error("FA_ERR_ARGUMENT", f"there is no array {missing[0]!r}; there are {', '.join(loaded.files)}")
            return tuple(loaded[name] for name in names)
    except errors.FattrError:
        raise
    except FileNotFoundError as e:
        raise errors.error("FA_ERR_IO", str(e.strerror)) from None
    except Exception as e:  # what NumPy and zipfile raise for a malformed file is not said anywhere
        raise errors.error("FA_ERR_FORMAT", f"no .npy or .npz file: {e}") from None


def _build_chain(sent: _Sent, chain: int) -> bytes:
    model, references, calibration, trace, options = sent.get()
    return Sketch.build(model, references, calibration, trace={**trace, "chains": 1, "first_chain": chain}, **options).to_bytes()


def _build_shard(sent: _Sent, references: _Sent) -> bytes:
    model, options = sent.get()
    return Sketch.build(model, references.get(), **options).to_bytes()
