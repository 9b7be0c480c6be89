"""The place that training has reached in its data, and how a resumed run gets there.

map-style data      by index: the sampler is run ahead, and nothing that was trained on is loaded again
data with a state   by ``state_dict`` and ``load_state_dict`` of the loader, or of its iterable data set
other data          by reading the batches again, and saying so

If the batches have another size than before, since a trial ran out of memory or got other hyperparameters, the place is
counted in the new ones, rounded down.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import lightning as L
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset

from orchestrator.training import compat_lightning as compat
from orchestrator.training.random_state import loader_generators, random_state, set_random_state
from orchestrator.training.worker_random_state import TellingCollate, opened, tell_random_state

log = logging.getLogger(__name__)
State = dict[str, Any]
PROCESSES = "processes_in_a_trial"
"""An attribute of a loader that loads in this process instead: the ``num_workers`` that it was made with."""


class DataPosition:
    """Where a Trainer is in its training data.

    Args:
        trainer: its training loaders are watched from now on.
        start: the state to continue from (see `state`); None to begin with the data.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self._trainer = trainer
        self._sources: list[_Source] = []
        self._combined: CombinedLoader | None = None
        self._start: State | None = None
        compat.on_train_loaders(trainer, self._attach)

    def start_from(self, state: State | None) -> None:
        """Let the loaders, which are not made yet, start where ``state`` was taken."""
        self._start = state

    def state(self) -> State | None:
        """Return the place after the last batch that was trained on; None before the loaders are made."""
        if self._combined is None:
            return None
        ahead = compat.batches_ahead(self._trainer)
        sources = [source.before_fetch if ahead else source.position() for source in self._sources]
        batches, exhausted = compat.combined_progress(self._combined)
        return {
            "sources": sources,
            "batches": batches - ahead,
            "exhausted": exhausted,
            "epoch": self._trainer.current_epoch,
            "reloaded": compat.last_reload(self._trainer),
            "length": compat.epoch_length(self._trainer),
        }

    def started(self) -> None:
        """Forget the place to start from: the first epoch of the segment begins to train."""
        for source in self._sources:
            source.start = None
        if self._start is not None:
            compat.set_last_reload(self._trainer, self._start["reloaded"])
            if length := self._start.get("length"):
                compat.set_epoch_length(self._trainer, length)
        self._start = None

    def _attach(self, combined: CombinedLoader) -> None:
        """Iterate through sources of our own, which count; the user's loaders stay what they are."""
        self._combined = combined
        self._sources = [_source(loader, self._trainer) for loader in combined.flattened]
        compat.iterate_through(combined, self._sources, self._set_progress)
        start = self._start
        if start is None or len(start["sources"]) != len(self._sources):
            return
        before, now = start["sources"][0].get("rows"), self._sources[0].rows
        if before and now and before != now:
            start = self._start = _in_other_batches(start, before / now)
            compat.scale_batch_counts(self._trainer, before / now)
        for source, place in zip(self._sources, start["sources"], strict=True):
            source.start = place
            compat.set_sampler_epoch(source.loader, start["epoch"])

    def _set_progress(self, combined: CombinedLoader) -> None:
        if self._start is not None:
            compat.set_combined_progress(combined, self._start["batches"], self._start["exhausted"])


def _in_other_batches(start: State, ratio: float) -> State:
    """Return a place to start from in batches of another size; ``ratio`` is the former size over the new one."""
    sources = [{**source, "batches": int(source["batches"] * ratio)} for source in start["sources"]]
    return {**start, "sources": sources, "batches": int(start["batches"] * ratio), "length": None}


def read_again(loaders: Any) -> list[str]:
    """Return the names of the training data whose batches a run that resumes within an epoch reads again."""
    flat = CombinedLoader(loaders).flattened if loaders is not None else []
    return [_name(loader) for loader in flat if not _is_indexed(loader) and _owner_of_state(loader) is None]


def _source(loader: Any, trainer: L.Trainer) -> _Source:
    owner = _owner_of_state(loader)
    if owner is not None:
        return _Stateful(loader, trainer, owner)
    return _Indexed(loader, trainer) if _is_indexed(loader) else _Source(loader, trainer)


def _is_indexed(loader: Any) -> bool:
    return _iterates_plainly(loader) and not isinstance(loader.dataset, IterableDataset) and not _has_state(loader)


def _owner_of_state(loader: Any) -> Any:
    """Return what has the state by which the loader continues: itself, or its iterable data; None without any."""
    if _has_state(loader):
        return loader
    if not _iterates_plainly(loader) or not isinstance(loader.dataset, IterableDataset):
        return None
    processes = getattr(loader, PROCESSES, loader.num_workers)
    return loader.dataset if processes == 0 and _has_state(loader.dataset) else None


def _iterates_plainly(loader: Any) -> bool:
    return isinstance(loader, DataLoader) and type(loader).__iter__ is DataLoader.__iter__


def _name(loader: Any) -> str:
    return type(getattr(loader, "dataset", loader)).__name__


def _has_state(value: Any) -> bool:
    return callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None))


class _Source:
    """A training loader whose batches are counted. It continues by reading again what was read before.

    Attributes:
        start: where the next iterators begin; None for the beginning.
        before_fetch: the place before the last batch was fetched: Lightning fetches one ahead if it knows no length.
    """

    def __init__(self, loader: Any, trainer: L.Trainer) -> None:
        self.loader = loader
        self.start: State | None = None
        self.before_fetch: State | None = None
        self._trainer = trainer
        self._batches = 0
        self._begun: State | None = None  # the random state before the iterator was made
        self._drawn: State | None = None  # the random state before the first batch was fetched
        self._fetch_state: State | None = None
        self._before_next: State | None = None  # the random state with which the next batch is fetched
        self._generators = list(loader_generators(loader))

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def rows(self) -> int | None:
        """The size of a batch, if the loader has one."""
        owners = (self.loader, getattr(self.loader, "batch_sampler", None))
        sizes = (getattr(owner, "batch_size", None) for owner in owners)
        return next((size for size in sizes if isinstance(size, int)), None)

    def __iter__(self) -> Iterator[Any]:
        start, self._batches, self._drawn = self.start, 0, None
        if start is None or not start["batches"]:
            self._begun = self._random()
            return _Counted(self, self._iterator(start))
        self._set_random(start["begun"])
        self._begun, self._drawn, self._batches = start["begun"], start["drawn"], start["batches"]
        return _Counted(self, self._advanced(start))

    def position(self) -> State:
        """Return the place after the batches that were fetched."""
        return {
            "batches": self._batches,
            "rows": self.rows,
            "begun": self._begun,
            "drawn": self._drawn,
            "random": self._fetch_state,
        }

    def fetch(self, iterator: Iterator[Any]) -> Any:
        """Return the iterator's next batch, and count it."""
        ahead = compat.fetches_ahead(self._trainer)
        if self._before_next is not None:
            self._set_random(self._before_next)
            self._before_next = None
        if self._drawn is None:
            self._drawn = self._random()
        if ahead:
            self._note_before_fetch()
        batch = next(iterator)
        self._batches += 1
        return batch

    def _note_before_fetch(self) -> None:
        self._fetch_state = self._random()
        self.before_fetch = self.position()

    def _iterator(self, start: State | None) -> Iterator[Any]:
        iterator: Iterator[Any] = iter(self.loader)
        return iterator

    def _advanced(self, start: State) -> Iterator[Any]:
        """Read what was read before. ``random`` is that before the batch that comes next, if it was fetched then."""
        iterator: Iterator[Any] = iter(self.loader)
        if start["drawn"] is not None:
            self._set_random(start["drawn"])
        began = time.monotonic()
        for _ in range(start["batches"]):
            next(iterator)
        log.warning(
            "%s has no state_dict() and is no map-style data: to resume in the middle of its epoch, %d batches "
            "were read again in %.1f s",
            _name(self.loader),
            start["batches"],
            time.monotonic() - began,
        )
        self._before_next = start["random"]
        return iterator

    def _random(self) -> State:
        return random_state(self._generators)

    def _set_random(self, state: State) -> None:
        set_random_state(state, self._generators)


class _Counted(Iterator[Any]):
    """An iterator whose source counts the batches."""

    def __init__(self, source: _Source, iterator: Iterator[Any]) -> None:
        self._source, self._iterator = source, iterator

    def __next__(self) -> Any:
        return self._source.fetch(self._iterator)


class _Stateful(_Source):
    """A loader that continues by a state of its own, or of its data set.

    In a resumed segment the loader is started twice, and where its length is unknown a batch was fetched by then. Data
    that keep their place in the object, as torchdata's examples do, would leave it out.
    """

    def __init__(self, loader: Any, trainer: L.Trainer, owner: Any) -> None:
        super().__init__(loader, trainer)
        self._owner = owner
        self._first_start: tuple[int, State] | None = None  # batches trained on by then, and the owner's state

    def _iterator(self, start: State | None) -> Iterator[Any]:
        if not isinstance(self._owner, DataLoader):  # one with a state begins again by itself
            trained = compat.batches_begun(self._trainer)
            if self._first_start is not None and self._first_start[0] == trained:
                self._owner.load_state_dict(copy.deepcopy(self._first_start[1]))
            else:
                self._first_start = trained, copy.deepcopy(self._owner.state_dict())
        return super()._iterator(start)

    def position(self) -> State:
        return {**super().position(), "state": self._owner.state_dict()}

    def _advanced(self, start: State) -> Iterator[Any]:
        if "state" not in start:  # of an earlier version, whose loader had none
            return super()._advanced(start)
        self._owner.load_state_dict(start["state"])
        iterator: Iterator[Any] = iter(self.loader)
        self._before_next = start["random"]
        return iterator


class _Indexed(_Source):
    """A DataLoader over map-style data, which continues by its sampler's indices."""

    loader: DataLoader[Any]

    def __init__(self, loader: DataLoader[Any], trainer: L.Trainer) -> None:
        super().__init__(loader, trainer)
        self._telling: TellingCollate | None = tell_random_state(loader) if loader.num_workers else None
        self._workers: dict[int, Any] = {}

    def position(self) -> State:
        return {**super().position(), "workers": dict(self._workers)}

    def fetch(self, iterator: Iterator[Any]) -> Any:
        if self._drawn is None:
            self._drawn = self._random()
        if compat.fetches_ahead(self._trainer):
            self.before_fetch = self.position()
        batch, worker, state = opened(next(iterator))
        if worker is not None and state is not None:
            self._workers[worker] = state
        self._batches += 1
        return batch

    def _iterator(self, start: State | None) -> Iterator[Any]:
        self._workers = dict(start["workers"]) if start else {}
        with self._processes_from(start):
            iterator: Iterator[Any] = iter(self.loader)
        return iterator

    def _advanced(self, start: State) -> Iterator[Any]:
        """Run the sampler ahead, with the random states that it drew with.

        A process gets every n-th batch. With n processes and k batches done, process k mod n is next: so k mod n empty
        batches are handed out first, or, if single samples are loaded, the last k mod n of them.
        """
        done, processes = start["batches"], self.loader.num_workers
        unused = done % processes if processes else 0
        empty = unused if self.loader.batch_sampler is not None else 0
        ahead = _AheadSampler(self._sampler, empty=empty, skip=done - unused + empty)
        ahead.before_draw = (lambda: self._set_random(start["drawn"])) if not processes and start["drawn"] else None
        self._workers = dict(start["workers"])
        with self._processes_from(start, unused, is_empty=empty > 0), self._sampling_by(ahead):
            iterator: Iterator[Any] = iter(self.loader)
            for _ in range(unused):
                with suppress(Exception):  # data sets may refuse an empty list of indices
                    next(iterator)
            if not processes:
                ahead.run_ahead()
        return iterator

    @property
    def _sampler(self) -> Any:
        return self.loader.sampler if self.loader.batch_sampler is None else self.loader.batch_sampler

    @contextmanager
    def _sampling_by(self, sampler: Any) -> Iterator[None]:
        """Let an iterator of the loader that is made meanwhile take its indices from ``sampler``."""
        name, original = "sampler" if self.loader.batch_sampler is None else "batch_sampler", self._sampler
        object.__setattr__(self.loader, name, sampler)  # the loader itself refuses another sampler
        try:
            yield
        finally:
            object.__setattr__(self.loader, name, original)

    @contextmanager
    def _processes_from(self, start: State | None, unused: int = 0, *, is_empty: bool = False) -> Iterator[None]:
        """Let the loader's processes that are started meanwhile continue from the random states of ``start``."""
        if self._telling is None:
            yield
            return
        self._telling.states = dict(start["workers"]) if start else {}
        self._telling.unused, self._telling.is_empty = unused, is_empty
        try:
            yield
        finally:
            self._telling.states, self._telling.unused = {}, 0


class _AheadSampler:
    """A sampler whose next iterator begins later; then it is the sampler itself.

    Args:
        sampler: the loader's own.
        empty: so many empty lists of indices come first.
        skip: so many items are drawn and left out.
    """

    def __init__(self, sampler: Any, *, empty: int, skip: int) -> None:
        self._sampler, self._empty, self._skip = sampler, empty, skip
        self._iterator: Iterator[Any] | None = None
        self._ahead = False
        self.before_draw: Any = None

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def __iter__(self) -> Iterator[Any]:
        if self._ahead:
            return iter(self._sampler)
        self._iterator = iter(self._sampler)
        return self._items()

    def run_ahead(self) -> None:
        """Leave out what was used before."""
        assert self._iterator is not None
        if self._ahead:
            return
        self._ahead = True
        if self.before_draw is not None:
            self.before_draw()
        for _ in range(self._skip):
            next(self._iterator)

    def _items(self) -> Iterator[Any]:
        iterator = self._iterator
        for _ in range(self._empty):
            yield []
        self.run_ahead()
        assert iterator is not None
        yield from iterator
