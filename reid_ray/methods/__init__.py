"""A method is an object: it says how alike photos are, is fitted on references, saved and loaded."""
