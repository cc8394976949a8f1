"""What people touch: the command line and the models that it keeps in folders."""
