"""The pages that are written: what is known, and what was evaluated."""
