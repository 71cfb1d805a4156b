"""Multi-layer perceptrons for tables, and the engines that train many of them."""
