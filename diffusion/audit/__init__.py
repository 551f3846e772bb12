"""Empirical audits of the code that trains, on made-up records."""
