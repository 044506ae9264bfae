"""The building blocks that all networks are made of."""
