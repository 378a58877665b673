"""Arrow files whose texts lie where nothing is: refused, and never looked into, which would end the process."""

from __future__ import annotations

import struct
from pathlib import Path

import pyarrow as pa
import pytest

from trunkline.data import read_table
from trunkline.errors import DataError

TEXTS = ["first", "second", "third text"]
OFFSETS = (0, 5, 11, 21)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize(
    "wrong", [(0, 5, 11, 2**30), (0, 5, 2, 21), (0, -5, 11, 21), (-8, 5, 11, 21), (0, 2**30, 2**30 + 1, 2**30 + 2)]
)
def test_places_of_texts(kind: pa.DataType, wrong: tuple[int, ...], tmp_path: Path) -> None:
    path, code = tmp_path / "rows.arrow", "<4i" if pa.types.is_string(kind) else "<4q"
    table = pa.table({"note": pa.array(TEXTS, kind), "size": [1, 2, 3]})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    content = path.read_bytes()
    assert content.count(struct.pack(code, *OFFSETS)) == 1
    path.write_bytes(content.replace(struct.pack(code, *OFFSETS), struct.pack(code, *wrong)))
    with pytest.raises(DataError, match=r"rows\.arrow.*damaged"):
        read_table(path)
