"""Checks before the first private step, on pictures that nobody sent."""
