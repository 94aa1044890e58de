"""Photos of animals: where they come from, their table of rows, and their pixels, prepared once."""
