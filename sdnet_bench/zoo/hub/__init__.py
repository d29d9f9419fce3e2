"""Model folders on the Hugging Face Hub: downloaded, uploaded, and validated the same way in both directions.

Weights are safetensors, all other files are text or images; no code from the Hub is run.
"""
