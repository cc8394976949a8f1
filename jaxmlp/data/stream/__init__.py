"""Tables that no memory holds: read slice by slice, split by rows, surveyed in one pass."""
