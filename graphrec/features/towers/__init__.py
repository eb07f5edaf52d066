"""Pretrained towers: open_clip, timm and transformers models for texts, pictures, sounds and videos."""
