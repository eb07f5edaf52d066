"""From interactions and features to one heterogeneous graph, and what is done to its edges."""
