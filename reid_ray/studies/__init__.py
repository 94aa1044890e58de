"""What a study has to do, and one training of it; no Ray."""
