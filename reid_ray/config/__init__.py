"""Typed settings of every command: one class per YAML file, one default in one place."""
