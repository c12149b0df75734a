"""Sources of any kind of data, files, batches."""
