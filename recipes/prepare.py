"""Public data sets → tables: `python recipes/prepare.py NAME SOURCE OUT`.

Files that a table speaks of stay where they are; its cells hold their paths as seen from the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sets import SETS
from trunkline.data import write_rows
from trunkline.errors import TrunklineError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Returns:
        0, or 1 where something was wrong, which is said on stderr.
    """
    args = _parser().parse_args(arguments)
    try:
        rows = list(SETS[args.name](args.source, args.out.parent))
        write_rows(args.out, rows)
    except TrunklineError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(rows)} rows written to {args.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prepare.py", description="Public data sets → tables.")
    parser.add_argument("name", choices=SETS, help="the set")
    parser.add_argument("source", type=Path, help="its folder or file, as published")
    parser.add_argument("out", type=Path, help="the table to write: .csv, .tsv, .jsonl or .parquet, each also .gz")
    return parser


if __name__ == "__main__":
    sys.exit(main())
