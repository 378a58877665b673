"""Molecules: SMILES → atoms and bonds with their features. RDKit reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trunkline.arrays.extras import need
from trunkline.errors import DataError

WHAT = "a graph that is a molecule"
LARGE = 9  # atoms of a ring, from which on their number says little


@dataclass(frozen=True)
class Molecule:
    """Heavy atoms and the bonds between them; all features are names.

    Attributes:
        smiles: as it was written.
        atoms: of each element, heavy neighbours, charge, hybridisation, aromatic, hydrogens, chirality (R or S), size
            of its smallest ring, rings that it is in.
        bonds: of each its two atoms, once.
        bond_features: of each type, conjugated, in a ring, stereo (E or Z).
    """

    smiles: str
    atoms: tuple[tuple[str, ...], ...]
    bonds: tuple[tuple[int, int], ...]
    bond_features: tuple[tuple[str, ...], ...]


def read_smiles(smiles: str) -> Molecule:
    """The molecule as RDKit understands it; atoms are in the order in which they are written.

    Raises:
        ConfigError: RDKit is not installed.
        DataError: RDKit cannot read it, or it has no atoms.
    """
    molecule = parse(smiles)
    if molecule.GetNumAtoms() == 0:
        raise DataError("the molecule has no atoms; leave the cell empty where it is absent")
    bonds = list(molecule.GetBonds())
    return Molecule(
        smiles,
        tuple(map(_atom, molecule.GetAtoms())),
        tuple((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds),
        tuple(map(_bond, bonds)),
    )


def parse(smiles: str) -> Any:
    """RDKit's molecule.

    Raises:
        ConfigError: RDKit is not installed.
        DataError: it cannot read it.
    """
    chem = need("rdkit.Chem", "graphs", WHAT)
    with need("rdkit.rdBase", "graphs", WHAT).BlockLogs():
        molecule = chem.MolFromSmiles(smiles)
        if molecule is None:
            raise DataError(f"{smiles!r:.80} is no SMILES that RDKit can read: {_why(chem, smiles)}")
    return molecule


def _why(chem: Any, smiles: str) -> str:
    """What RDKit has against it."""
    unchecked = chem.MolFromSmiles(smiles, sanitize=False)
    problems = [] if unchecked is None else chem.DetectChemistryProblems(unchecked)
    return "; ".join(problem.Message() for problem in problems[:3]) or "it is not written as SMILES are"


def _atom(atom: Any) -> tuple[str, ...]:
    return (
        atom.GetSymbol(),
        str(atom.GetDegree()),
        str(atom.GetFormalCharge()),
        str(atom.GetHybridization()),
        _yes(atom.GetIsAromatic()),
        str(atom.GetTotalNumHs()),
        atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else "none",
        *_rings(atom),
    )


def _bond(bond: Any) -> tuple[str, ...]:
    return str(bond.GetBondType()), _yes(bond.GetIsConjugated()), _yes(bond.IsInRing()), str(bond.GetStereo())


def _rings(atom: Any) -> tuple[str, str]:
    """The size of the smallest ring that the atom is in, and in how many of the smallest rings it is."""
    sizes = atom.GetOwningMol().GetRingInfo().AtomRingSizes(atom.GetIdx())
    smallest = min(sizes, default=0)
    return str(smallest or "none") if smallest < LARGE else "large", str(len(sizes))


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
