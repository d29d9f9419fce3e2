"""The tables and figures of the paper: its numbers, the measurements they need, and our numbers beside them.

A table or figure is a value in one file: its plan, its values, and the commands that measure missing ones.

published   the paper's numbers, read from `paper.toml`
plan        the class of tables and figures, and the steps of their measurements
accuracy    Tables 1 and 6
noise       Tables 2 and 3, Figures 2 and 3, the mean corruption error
attacks     Table 4
iterations  Table 5
inference   robust inference on streams of mixed severity
registry    all tables and figures by name
results     the records of a model; robustness: its records of attacks
tables      all tables as entries; render: as Markdown and CSV
reproduce   training and all measurements, from recipes to tables
"""
