"""Cells → arrays, and arrays → answers, in NumPy alone: what training and an exported network have in common.

Nothing here imports PyTorch, nor a package of one kind of cell (Pillow, soundfile, tokenizers, RDKit) before there is
such a cell.
"""
