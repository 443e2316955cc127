"""Explanations of a network: Grad-CAM, saliency, sampling points and class images."""
