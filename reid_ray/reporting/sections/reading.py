"""Explain the terms."""

from reid_ray.reporting.sections.section import Section

SECTION = Section("reading", "How to read this", lambda _: {})
