"""Products to learn from, each in a folder of its own: what `slipway new product` spreads over the repository."""
