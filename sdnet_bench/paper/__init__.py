"""The paper as data and plans: what it published, what has to be measured for it, and our numbers beside its own.

A table or figure is a value in one file, which says what it needs, what stands where, and what fills a gap.

published   the paper's numbers, read from `paper.toml`
study       what a table or figure is; plan: what its steps are made of
accuracy    Tables 1 and 6
noise       Tables 2 and 3, Figures 2 and 3, the mean corruption error
attacks     Table 4
iterations  Table 5
inference   robust inference on streams of mixed severity
registry    all of them by name
results     what is on record of a model; robustness: of attacks on it
tables      all tables, as entries; render: as Markdown and CSV
reproduce   the whole path, from a recipe to all of these
"""
