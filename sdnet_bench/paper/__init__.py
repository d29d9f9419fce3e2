"""The tables and figures of the paper: its numbers, the measurements they need, and our numbers beside them.

A table or figure is a value in one file: its plan, its values, and the commands that measure missing ones. `registry`
has them all by name, `tables` puts our numbers beside those of `paper.toml`, and `reproduce` measures everything.
"""
