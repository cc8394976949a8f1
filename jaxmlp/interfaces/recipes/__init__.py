"""How `jaxmlp train` makes a model from a table."""
