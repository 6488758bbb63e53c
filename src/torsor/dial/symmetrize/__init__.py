"""Symmetrise any network: average it over group elements that move with its input."""
