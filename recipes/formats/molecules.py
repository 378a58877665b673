"""Molecules as SMILES → fingerprints: which of the small parts that a molecule can have are there."""

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
