"""The commands: arguments, what they print, what they write."""
