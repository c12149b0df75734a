"""What every room needs: errors, options, files, logs."""
