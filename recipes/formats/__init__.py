"""One file a format: what is on disk → rows. Nothing here writes, and nothing knows a data set by name."""
