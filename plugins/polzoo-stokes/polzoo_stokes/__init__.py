"""polzoo-stokes: a fusion that reads degree and angle of linear polarization."""
