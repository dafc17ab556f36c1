"""Many runs of the thesis's method as one batch, for a GPU."""
