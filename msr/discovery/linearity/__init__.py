"""Lack of fit: do functions of the inputs that are not linear explain part of what a linear layer leaves?"""
