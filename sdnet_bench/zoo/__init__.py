"""Trained models: their folders, weights, names and sources.

weights     the safetensors files of a model folder
checkpoint  a model folder, read and written
initial     the initial network of a training
find        models by name, downloaded where they are missing
authors     conversion of the authors' checkpoints
hub         the Hugging Face Hub
"""
