"""Programs on the whole chip, compared on every cycle."""
