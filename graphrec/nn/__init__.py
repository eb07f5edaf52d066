"""Tensors in, tensors out: propagation over sparse relations, losses and the ranking objective."""
