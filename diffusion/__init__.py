"""What touches images and the accelerator: the second of the three houses."""
