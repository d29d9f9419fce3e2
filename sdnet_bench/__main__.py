"""Entry point of `python -m sdnet_bench` and of `torchrun -m sdnet_bench`."""

from .cli.app import main

main()
