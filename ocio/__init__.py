"""Plates, sequences and color management; knows no network."""
