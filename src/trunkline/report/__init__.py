"""A run folder, or rows as training sees them → one HTML file that opens anywhere, offline. Reads no live model."""

from trunkline.report.page import make_page, write_page
from trunkline.report.preview import SeenRow, View, write_preview

__all__ = ["SeenRow", "View", "make_page", "write_page", "write_preview"]
