"""Published stereo data sets, one module each: where their files lie and what the numbers in them mean."""
