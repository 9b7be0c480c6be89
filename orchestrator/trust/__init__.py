"""Who wrote a run: a run directory is data, and only what its user has signed or trusted names code to import.

`user_key` is the user's own secret, outside every run; `authorship` signs what a new run names and checks it again;
`named_code` lists what a run would import.
"""

from orchestrator.trust.authorship import CARRIED, authors, carried_author, own_roots, remember, require_trust
from orchestrator.trust.named_code import named_code

__all__ = ["CARRIED", "authors", "carried_author", "named_code", "own_roots", "remember", "require_trust"]
