"""What tasks on recorded data share: prepared files, augmentation, a network with dropout."""
