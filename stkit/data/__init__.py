"""Sources of fields, windows, transforms, and the stream of training batches."""
