"""What the notebooks call, and the Jupyter that runs them."""
