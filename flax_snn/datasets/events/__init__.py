"""Events of one recording: the arrays, changes of them, rasters, batches."""
