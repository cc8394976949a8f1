"""Tables: reading, splitting, preprocessing."""
