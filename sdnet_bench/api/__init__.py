"""The front door: what the command line does, from Python. `Bench` is what `sdnet_bench` hands out."""
