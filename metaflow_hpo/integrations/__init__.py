"""The tools people already use: samplers, searchers and callbacks that plug into them."""
