"""A run folder → one HTML file that opens anywhere, offline. Reads files, never a live model."""

from trunkline.report.page import make_page, write_page

__all__ = ["make_page", "write_page"]
