"""`python -m sdnet_bench`, and what `torchrun -m sdnet_bench` starts."""

from .cli.app import main

main()
