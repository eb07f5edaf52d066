"""Sampling, the training loop, its schedule, checkpoints and trackers."""
