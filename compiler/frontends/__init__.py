"""From a model's weights to a graph of tiled work."""
