"""Files of published weights: which there are, reading them without running them, fetching them."""
