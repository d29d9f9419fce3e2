"""The tables and figures of the paper: its numbers, the measurements they need, and our numbers beside them.

A table is a value in one file: its numbers from records, and the commands that measure missing ones. `registry` has
all studies by name, `plan` what each measures; `tables` puts our numbers beside those of `paper.toml`, without torch,
and `reproduce` measures everything.
"""
