"""A sweep as its journal tells it, kept up to date by folding what is new."""

from __future__ import annotations

from orchestrator.errors import JournalError
from orchestrator.journal import Event, Follower, holder, store_at
from orchestrator.policies.budget import amounts
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState


class Watched:
    """The state of a run and what is wrong with reading it. Only ever reads; nothing here raises.

    ``trouble`` is a sentence where the journal is damaged, or gone, or cannot be read just now; the state is then what
    was read before. ``touched`` are the trials that the last look changed, None for all of them.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.state = SweepState()
        self.trouble = ""
        self.touched: set[int] | None = None
        self._follower = Follower(store_at(run.journal))
        self._cut_off_at: int | None = None  # the lease whose process was found dead
        self._lease = 0
        self._spec: tuple[object, SweepSpec] | None = None

    def look(self) -> bool:
        """Take in what is new. Whether anything has changed."""
        trouble, status = self.trouble, self.state.status
        self.touched = set()
        seen = self._read()
        if self._cut_off_at is not None and seen and self._lease == self._cut_off_at:
            self._begin_anew()  # it was not dead after all, and what it ran was not interrupted
        self._mark_if_cut_off()
        return seen or trouble != self.trouble or status != self.state.status

    def spent(self) -> dict[str, float]:
        """What was spent so far, as `orchestrator.policies.budget.amounts` has it."""
        if self._spec is None or self._spec[0] is not self.state.spec:
            self._spec = self.state.spec, SweepSpec.model_validate(self.state.spec)
        return amounts(self._spec[1], self.state)

    def _read(self) -> bool:
        seen = False
        try:
            for event in self._follower.events():
                seen = True
                self._fold(event)
        except JournalError as error:
            self.trouble = str(error).split("\nhint: ")[0].replace(str(self.run.journal), "the journal")
        except FileNotFoundError:
            self.trouble = "the journal is gone; what is shown is what it said before"
        except OSError as error:
            self.trouble = f"the journal cannot be read: {error.strerror or error}"
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            self.trouble = f"the journal says what cannot be: {type(error).__name__}: {error}"
        else:
            self.trouble = ""
        return seen

    def _fold(self, event: Event) -> None:
        if event.seq == 0:
            self.state, self.touched = SweepState(), None
        self.state.apply(event)
        self._lease = event.lease
        if "trial" not in event.fields:
            if event.type != "checkpoints.removed":
                self.touched = None
        elif self.touched is not None:
            self.touched.add(event["trial"])

    def _mark_if_cut_off(self) -> None:
        """The process that wrote the journal is gone and wrote no pause: what it ran is interrupted."""
        if self.state.status != "running":
            self._cut_off_at = None if self.state.status != "interrupted" else self._cut_off_at
        elif not self._is_written():
            self._cut_off_at, self.touched = self._lease, None
            self.state.cut_off()

    def _is_written(self) -> bool:
        try:
            return holder(self.run.journal) is not None
        except OSError:
            return True  # nothing is known; the journal's own trouble is told beside

    def _begin_anew(self) -> None:
        self._cut_off_at = None
        self._follower.rewind()
        self._read()
