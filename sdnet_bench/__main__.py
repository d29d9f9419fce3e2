"""`python -m sdnet_bench`, and what `accelerate launch -m sdnet_bench` starts."""

from .cli.app import main

main()
