"""Features: vectors aligned to items and users, and the encoders that make them from raw content."""
