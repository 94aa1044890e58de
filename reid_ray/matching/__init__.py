"""Local features: find keypoints, compare descriptors, and let the most matches name the animal."""
