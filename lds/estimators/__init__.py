"""The faces of LDS that scikit-learn and PyTorch Geometric users know."""
