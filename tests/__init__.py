"""A package of its own: some installed ones are called `tests` too, and spawned processes would import those."""
