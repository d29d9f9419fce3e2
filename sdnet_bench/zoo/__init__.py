"""Models as things: their folders and weights, what they are called, and where they come from.

weights     the safetensors files of a model folder
checkpoint  a model folder, read and written
initial     the network that a training starts with
find        models by name, fetched where they are not here yet
authors     checkpoints of the authors' release
hub         the Hugging Face Hub
"""
