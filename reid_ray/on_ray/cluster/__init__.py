"""Join or start a Ray, and know what it has."""
