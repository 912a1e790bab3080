"""From a model to a Program: frontends lower a model to tiled work, the scheduler places it in space and time."""
