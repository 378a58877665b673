"""Molecules as SMILES: which of the small parts that one can have are there (fingerprints), and splits by scaffold."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from trunkline.errors import DataError

RADIUS, BITS = 2, 1024  # bonds around each atom; places that parts are hashed to


def with_fingerprints(rows: Iterable[dict[str, Any]], column: str) -> Iterator[dict[str, Any]]:
    """Each row with its molecule in canonical form and, as `fingerprint`, a list of `BITS` zeros and ones (Morgan).

    Rows whose molecule RDKit cannot read are left out, and counted in a warning.

    Args:
        rows: with a SMILES in `column`.
        column: its name.

    Raises:
        DataError: RDKit is not installed.
    """
    try:
        from rdkit import Chem, RDLogger
        from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
    except ImportError as error:
        raise DataError("fingerprints of molecules need RDKit: pip install rdkit") from error
    RDLogger.DisableLog("rdApp.*")
    generator = GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    unread = []
    for row in rows:
        molecule = Chem.MolFromSmiles(row[column])
        if molecule is None:
            unread.append(row[column])
            continue
        bits = generator.GetFingerprintAsNumPy(molecule).tolist()
        yield {**row, column: Chem.MolToSmiles(molecule), "fingerprint": bits}
    if unread:
        warnings.warn(f"{len(unread)} molecules that RDKit cannot read are left out: {', '.join(unread)}", stacklevel=2)


def with_scaffold_split(rows: Iterable[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """Each row with its `scaffold_split`: of 100 rows 80 to train, 10 to validate, 10 to test, as MoleculeNet divides.

    Molecules of one Bemis–Murcko scaffold (rings and what joins them) stay together. The largest sets go to training,
    so that test rows have rare scaffolds, which no training row has (Wu et al. 2018, section 3.2). Of equally large
    ones the last comes first, as theirs does.

    Args:
        rows: with a SMILES in `column` that RDKit can read.
        column: its name.
    """
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    table, sets = list(rows), dict[str, list[int]]()
    for number, row in enumerate(table):
        sets.setdefault(MurckoScaffoldSmiles(smiles=row[column]), []).append(number)
    counts = {"train": 0, "val": 0}
    most = {"train": 0.8 * len(table), "val": 0.9 * len(table)}
    for members in sorted(sets.values(), key=lambda one: (len(one), one[0]), reverse=True):
        done = 0
        for split in ("train", "val"):
            done += counts[split]
            if done + len(members) <= most[split]:
                counts[split] += len(members)
                break
        else:
            split = "test"
        for number in members:
            table[number]["scaffold_split"] = split
    return table
