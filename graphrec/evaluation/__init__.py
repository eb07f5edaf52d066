"""Full-rank evaluation: metrics with one value per user, ranking in blocks, and paired significance tests."""
