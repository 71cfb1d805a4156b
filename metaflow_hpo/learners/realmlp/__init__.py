"""Networks for tables after RealMLP and TabM: what is cheap and known to pay, and several members in one network."""
