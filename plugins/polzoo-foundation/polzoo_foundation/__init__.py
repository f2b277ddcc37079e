"""polzoo-foundation: stereo on frozen Depth Anything V2 features."""
