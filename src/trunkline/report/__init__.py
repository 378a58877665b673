"""A run folder, or rows as training sees them → one HTML file that opens anywhere, offline; and a model card. Reads no
live model."""

from trunkline.report.card import make_card, write_card
from trunkline.report.checks import CHECKS, findings
from trunkline.report.files import read_run
from trunkline.report.page import make_page, write_page
from trunkline.report.preview import SeenRow, View, write_preview

__all__ = ["CHECKS", "SeenRow", "View", "findings", "make_card", "make_page", "read_run", "write_card",
           "write_page", "write_preview"]  # fmt: skip
