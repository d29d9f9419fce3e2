"""One part of each kind: a backbone, a corruption, an attack and a data set."""
