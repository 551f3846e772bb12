"""The engines behind `diffusion.per_example`; import that, not these."""
