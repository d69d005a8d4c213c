"""Training: one loop on Accelerate that knows no model, dataset or metric. Importing this loads no torch."""
