"""Place trainings on the cluster, and search the grid."""
