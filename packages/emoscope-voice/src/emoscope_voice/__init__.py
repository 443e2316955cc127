"""Weights for Emoscope: voice-ravdess and its card. CC BY-NC-SA 4.0: for non-commercial use."""
