"""Lack of fit: does anything that is not linear in the inputs explain what a linear layer leaves?"""
