"""Find out which method re-identifies your animals best, and who is in these new photos."""

__version__ = "0.1.0"
