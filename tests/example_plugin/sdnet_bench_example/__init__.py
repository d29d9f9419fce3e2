"""One part of each kind: a backbone, a corruption, an attack, an adaptation and a data set."""
