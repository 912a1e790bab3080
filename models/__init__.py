"""Readers of trained weights and tokenizers. Nothing here knows of the chip."""
