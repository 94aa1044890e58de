"""The page on which people drop photos and decide who is in them: a queue, decisions, pages, a server."""
