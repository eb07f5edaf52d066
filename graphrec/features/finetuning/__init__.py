"""Towers adapted to a catalogue before they encode it, and retrieval that says whether it helped."""
