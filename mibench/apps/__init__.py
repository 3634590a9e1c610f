"""What people start: batches, the command line, the explorer, the report."""
