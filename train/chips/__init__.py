"""What becomes of a trained network on real devices."""
