"""Processes that may be lost, and work that is finished all the same."""
