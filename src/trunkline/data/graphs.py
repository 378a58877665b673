"""Which texts are graphs: molecules as SMILES, and JSON with nodes."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Sequence

from trunkline.cells import parse_json
from trunkline.data.description import Description

NEARLY_ALL = 0.95
_NAME = re.compile(r"smiles?(?![a-z])", re.IGNORECASE)
_SMILES = re.compile(r"(?:Cl|Br|[BCNOPSFIbcnops]|\[[^\[\]\s]+\]|[-=#$:/\\.()%\d~*])+")
_BUILT = re.compile(r"[=#(\[]|[A-Za-z\]]\d")  # bonds, branches, rings: what few words have
_FEW = 20  # different texts that a column of another name has at least


def as_graphs(texts: Sequence[str]) -> Description | None:
    """JSON objects with `nodes`."""
    read = [text for text in texts if text.startswith("{") and '"nodes"' in text]
    if len(read) < NEARLY_ALL * len(texts):
        return None
    broken = [text for text in read if not _has_nodes(text)]
    if len(read) - len(broken) < NEARLY_ALL * len(texts):
        return None
    mess = (f"an object that is no JSON: {broken[0][:40]!r}",) if broken else ()
    return Description("graph", "JSON graphs, with nodes", mess=mess)


def as_molecules(name: str, texts: Sequence[str]) -> Description | None:
    """SMILES, where what reads them is installed, and either the column's name or every text says so.

    Args:
        name: of the column.
        texts: some of those that differ.
    """
    is_named = _NAME.search(name) is not None
    wanted = NEARLY_ALL if is_named else 1.0
    if sum(_SMILES.fullmatch(text) is not None for text in texts) < wanted * len(texts):
        return None
    if not is_named and (
        len(texts) < _FEW or sum(_BUILT.search(text) is not None for text in texts) < 0.8 * len(texts)
    ):
        return None
    if any(importlib.util.find_spec(module) is None for module in ("rdkit", "torch_geometric")):
        return None
    unread = _unread(texts)
    if len(texts) - len(unread) < NEARLY_ALL * len(texts):
        return None
    why = "by the column's name" if is_named else "by how they are written"
    mess = (f"about {len(unread) / len(texts):.1%} are no molecules, such as {unread[0][:40]!r}",) if unread else ()
    return Description("graph", f"SMILES of molecules, {why}", mess=mess)


def _has_nodes(text: str) -> bool:
    try:
        said = parse_json(text)
    except ValueError:
        return False
    return isinstance(said, dict) and "nodes" in said


def _unread(texts: Sequence[str]) -> list[str]:
    """Those that RDKit cannot read."""
    chem, base = importlib.import_module("rdkit.Chem"), importlib.import_module("rdkit.rdBase")
    with base.BlockLogs():
        return [text for text in texts if chem.MolFromSmiles(text) is None]
