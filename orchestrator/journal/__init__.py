"""The journal: one append-only, checksummed log with one writer at a time, and the only code that touches it.

`records` is the form of a line, `stores` where lines are kept (a file, or objects in object storage), `lease` who may
write, `writer` the two together, `follower` a reader of what is written meanwhile.
"""

from orchestrator.journal.follower import Follower
from orchestrator.journal.lease import Holder
from orchestrator.journal.records import Event, decode, encode, plain
from orchestrator.journal.stores import FileStore, ObjectStore, Place, Store, store_at
from orchestrator.journal.writer import Journal, holder, read

__all__ = [
    "Event",
    "FileStore",
    "Follower",
    "Holder",
    "Journal",
    "ObjectStore",
    "Place",
    "Store",
    "decode",
    "encode",
    "holder",
    "plain",
    "read",
    "store_at",
]
