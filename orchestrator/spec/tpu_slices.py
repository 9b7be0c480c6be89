"""TPU slices by name: chips, hosts and topology of ``v5e-16``. Imports neither Ray nor torch_xla.

Sources: the tables in Ray 2.60 (``ray/_private/accelerators/tpu.py``) and torch_xla 2.9 (``_internal/tpu.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

_NAME = re.compile(r"(?P<generation>[a-z0-9]+)-(?P<size>[1-9]\d{0,5})")
_TOPOLOGY = re.compile(r"[1-9]\d{0,3}(x[1-9]\d{0,3}){1,2}")
_CHIPS_A_HOST = 4


@dataclass(frozen=True)
class Generation:
    """One generation of TPUs.

    ``google`` is its name in Google's accelerator types, and ``counts_as`` what one chip adds to the size in that name
    (its cores, in the older ones). ``devices`` are the XLA devices of a chip. ``sizes`` are the topologies by their
    number of chips; those in ``one_host`` are one host, and every other slice has four chips a host.
    """

    name: str
    google: str
    counts_as: int
    devices: int
    sizes: dict[int, str]
    one_host: frozenset[str]


def _by_chips(*topologies: str) -> dict[int, str]:
    return {prod(dimensions(topology)): topology for topology in topologies}


def dimensions(topology: str) -> tuple[int, ...]:
    """Return ``4x4`` as (4, 4)."""
    return tuple(int(side) for side in topology.split("x"))


_FLAT = _by_chips("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_OLD = _by_chips("2x2", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBE = _by_chips(
    "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16"
)
_UP_TO_EIGHT = frozenset({"1x1", "2x2", "2x4"})
GENERATIONS = {
    generation.name: generation
    for generation in (
        Generation("v2", "v2", 2, 2, _OLD, frozenset({"2x2"})),
        Generation("v3", "v3", 2, 2, {**_OLD, 512: "16x32", 1024: "32x32"}, frozenset({"2x2"})),
        Generation("v4", "v4", 2, 1, _CUBE, frozenset({"2x2x1"})),
        Generation("v5e", "v5litepod", 1, 1, _FLAT, _UP_TO_EIGHT),
        Generation("v5p", "v5p", 2, 1, _CUBE, frozenset({"2x2x1"})),
        Generation("v6e", "v6e", 1, 1, _FLAT, _UP_TO_EIGHT),
        Generation("v7x", "tpu7x", 2, 2, _CUBE, frozenset({"2x2x1"})),
    )
}
_ALIASES = {generation.google: name for name, generation in GENERATIONS.items()} | {"v5lite": "v5e"}


@dataclass(frozen=True)
class Slice:
    """A slice: chips that are wired to each other, some on each host.

    ``name`` as a sweep file has it (``v5e-16``), ``topology`` the chips along each side (``4x4``).
    """

    name: str
    topology: str

    @property
    def generation(self) -> Generation:
        """The generation, by the slice's name."""
        return GENERATIONS[self.name.partition("-")[0]]

    @property
    def chips(self) -> int:
        """Chips of the whole slice."""
        return prod(dimensions(self.topology))

    @property
    def hosts(self) -> int:
        """Hosts of the slice."""
        return self.chips // self.chips_a_host

    @property
    def chips_a_host(self) -> int:
        """Chips of one host."""
        return self.chips if self.topology in self.generation.one_host else _CHIPS_A_HOST

    @property
    def devices(self) -> int:
        """XLA devices of the whole slice."""
        return self.chips * self.generation.devices

    @property
    def accelerator_type(self) -> str:
        """Google's name of it, as gcloud, GKE and torch_xla have it: ``v5litepod-16``."""
        return f"{self.generation.google}-{self.chips * self.generation.counts_as}"

    @property
    def pod_types(self) -> frozenset[str]:
        """What Ray may label its hosts with: it takes either Google's name or, for the seventh generation, its own."""
        size = self.chips * self.generation.counts_as
        return frozenset({self.accelerator_type, f"{self.generation.name}-{size}"})

    @property
    def chip_bounds(self) -> tuple[int, int, int]:
        """Chips of one host along x, y and z."""
        sides = dimensions(self.topology)
        x, y = sides[:2] if self.hosts == 1 else (2, 2)
        return x, y, 1

    @property
    def host_bounds(self) -> tuple[int, int, int]:
        """Hosts along x, y and z."""
        x, y, z = (*dimensions(self.topology), 1)[:3]
        across, along, _ = self.chip_bounds
        return x // across, y // along, z


def parse(name: str) -> tuple[Generation, int]:
    """Return generation and number of chips. Raises ValueError if there is no such slice."""
    match = _NAME.fullmatch(name.strip().lower())
    generation = match and GENERATIONS.get(_ALIASES.get(match["generation"], match["generation"]))
    if not match or not generation:
        raise ValueError(f"expected a TPU slice such as v4-16 or v5e-16 ({', '.join(GENERATIONS)}), but got {name!r}")
    chips, remainder = divmod(int(match["size"]), generation.counts_as)
    if remainder or chips not in generation.sizes:
        raise ValueError(f"there is no {name}; of {generation.name} there are {', '.join(_names(generation))}")
    return generation, chips


def canonical(name: str) -> str:
    """Return ``v5e-16`` for ``v5litepod-16``. Raises ValueError if there is no such slice."""
    generation, chips = parse(name)
    return f"{generation.name}-{chips * generation.counts_as}"


def slice_of(name: str, topology: str | None = None) -> Slice:
    """Return the slice of that name; its usual topology by default. Raises ValueError if there is no such slice."""
    generation, chips = parse(name)
    shape = (topology or generation.sizes[chips]).strip().lower()
    if not _TOPOLOGY.fullmatch(shape):
        raise ValueError(f"expected a topology such as {generation.sizes[chips]}, but got {topology!r}")
    usual, sides = dimensions(generation.sizes[chips]), dimensions(shape)
    if len(sides) != len(usual):
        raise ValueError(f"{generation.name} has {len(usual)} dimensions, but got {shape}")
    if prod(sides) != chips:
        raise ValueError(f"{canonical(name)} has {chips} chips, but {shape} is {prod(sides)}")
    if shape not in generation.one_host and any(side % 2 for side in sides[:2]):
        raise ValueError(f"the hosts of {canonical(name)} have 2x2 chips each, which {shape} is not made of")
    return Slice(canonical(name), shape)


def _names(generation: Generation) -> Iterator[str]:
    return (f"{generation.name}-{chips * generation.counts_as}" for chips in generation.sizes)
