"""What people see of a study: tables, pictures, one page, and the MLflow store."""
