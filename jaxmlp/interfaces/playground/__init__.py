"""The page to play with: training runs of small networks, replayed number by number."""
