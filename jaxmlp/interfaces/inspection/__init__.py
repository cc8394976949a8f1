"""What commands say about single rows: their gradients, influence and uncertainty."""
