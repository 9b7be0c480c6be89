"""Hyperparameter sweeps for PyTorch Lightning: launch, scale, export the best checkpoint."""
