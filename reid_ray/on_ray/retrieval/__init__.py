"""The one engine that prepares photos and asks methods, for studies and for `identify`."""
