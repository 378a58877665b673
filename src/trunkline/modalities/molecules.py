"""A drawing of a molecule, by RDKit."""

from __future__ import annotations

from trunkline.arrays.molecules import WHAT, parse
from trunkline.pretrained import need
from trunkline.showing import Shown

SIDE = 240  # pixels of a drawing


def shown_molecule(smiles: str) -> Shown:
    """Its structural formula, as a PNG."""
    draw = need("rdkit.Chem.Draw.rdMolDraw2D", "graphs", WHAT)
    canvas = draw.MolDraw2DCairo(SIDE, SIDE)
    draw.PrepareAndDrawMolecule(canvas, parse(smiles))
    canvas.FinishDrawing()
    return Shown("picture", smiles, canvas.GetDrawingText(), ".png")
