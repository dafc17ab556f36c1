"""LDS for users of scikit-learn and of PyTorch Geometric."""
