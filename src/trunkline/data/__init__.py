"""Sources → rows: tables with holes in them, how they are split, and in what order rows are drawn."""

from trunkline.data.coco import CocoNumbers, coco_numbers
from trunkline.data.description import Description
from trunkline.data.encodings import guess_encoding
from trunkline.data.joint import WHOSE, join_splits, named_table, warn_of_groups
from trunkline.data.joint_sampling import JointSampler, Sampling, table_shares
from trunkline.data.leaks import find_leak
from trunkline.data.looking import describe, describe_column
from trunkline.data.mapped import cache_folder
from trunkline.data.read import origins, read_table
from trunkline.data.sampling import Draw, EpochSampler, EveryRowSampler, draw_seed
from trunkline.data.shards import files_of
from trunkline.data.slices import check_slices, in_order, slice_names
from trunkline.data.splits import SPLIT_NAMES, Split, Splits, make_splits, split_by_column, split_by_share
from trunkline.data.strata import stratify_labels
from trunkline.data.table import PIECE, Table, are_there
from trunkline.data.write import write_rows

__all__ = [
    "PIECE",
    "SPLIT_NAMES",
    "WHOSE",
    "CocoNumbers",
    "Description",
    "Draw",
    "EpochSampler",
    "EveryRowSampler",
    "JointSampler",
    "Sampling",
    "Split",
    "Splits",
    "Table",
    "are_there",
    "cache_folder",
    "check_slices",
    "coco_numbers",
    "describe",
    "describe_column",
    "draw_seed",
    "files_of",
    "find_leak",
    "guess_encoding",
    "in_order",
    "join_splits",
    "make_splits",
    "named_table",
    "origins",
    "read_table",
    "slice_names",
    "split_by_column",
    "split_by_share",
    "stratify_labels",
    "table_shares",
    "warn_of_groups",
    "write_rows",
]
