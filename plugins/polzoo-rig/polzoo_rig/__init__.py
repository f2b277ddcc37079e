"""polzoo-rig: from raw frames of two polarization cameras and their calibration to rectified pairs."""
