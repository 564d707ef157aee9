"""Installing, with and without a network, and looking for what is wrong with a machine."""
