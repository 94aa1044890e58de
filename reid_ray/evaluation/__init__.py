"""From scores of query x reference to ranked answers, measures and intervals."""
