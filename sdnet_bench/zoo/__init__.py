"""Trained models: their folders, weights, names and sources."""
