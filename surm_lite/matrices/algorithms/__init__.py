"""What is computed with structured matrices: displacement, recovery, algebra, solvers, fits."""
