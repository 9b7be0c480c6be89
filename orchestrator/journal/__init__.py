"""The journal: one append-only, checksummed log with one writer at a time. No other room reads or writes the log.

`records` is the form of a line and the format's version. `file_store` and `object_store` keep lines in a file, or in
objects in object storage; `lease` and `object_lease` decide who may write. `writer` appends; `reader` reads, follows.
"""

from orchestrator.journal.lease import Holder
from orchestrator.journal.reader import Follower, read
from orchestrator.journal.record_fields import shown, spec_problem
from orchestrator.journal.records import (
    FORMAT,
    Event,
    decode,
    encode,
    event_problem,
    plain,
    program_version,
    upgrade_hint,
    writer_version,
)
from orchestrator.journal.steady_time import SteadyTime
from orchestrator.journal.stores import FileStore, ObjectStore, Place, Store, store_at
from orchestrator.journal.writer import Journal, holder

__all__ = [
    "FORMAT",
    "Event",
    "FileStore",
    "Follower",
    "Holder",
    "Journal",
    "ObjectStore",
    "Place",
    "SteadyTime",
    "Store",
    "decode",
    "encode",
    "event_problem",
    "holder",
    "plain",
    "program_version",
    "read",
    "shown",
    "spec_problem",
    "store_at",
    "upgrade_hint",
    "writer_version",
]
