"""The strategies that learn from past tasks; `collect.strategies.registry` names them."""
