"""Replaced data: some sixty small molecules, with the length of their text as the target."""

import csv
import itertools
from pathlib import Path

chains = ["C" * n for n in range(1, 13)]
ends = ["", "O", "N", "F", "Cl", "C(=O)O"]
with Path("molecules.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["smiles", "size"])
    table.writerows((f"{chain}{end}", len(chain) + len(end)) for chain, end in itertools.product(chains, ends))
