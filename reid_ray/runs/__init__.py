"""What a study leaves on disk: one folder per method, written so that a crash loses nothing finished."""
