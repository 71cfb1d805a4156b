"""The champion over HTTP, behind MLflow's REST contract; it follows the alias `champion` without a restart."""
