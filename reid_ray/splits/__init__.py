"""Which photos are reference, query or validation, decided once on the table of rows."""
