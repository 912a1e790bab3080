"""From a model to a Program."""
