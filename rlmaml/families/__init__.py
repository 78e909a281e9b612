"""Supervised task families. They hold their loss, and so need torch: unlike environments they live in here."""
