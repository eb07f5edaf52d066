"""The feature store: vectors kept by the content they were made from, in files that survive a kill."""
