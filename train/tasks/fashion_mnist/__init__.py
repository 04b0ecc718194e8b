"""The task of Fashion-MNIST."""
