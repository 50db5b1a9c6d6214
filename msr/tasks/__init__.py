"""Families of related tasks: linear tasks of any group, controls without one, and files of one's own."""

from msr.tasks.base import TaskFamily as TaskFamily
from msr.tasks.finite_group import FiniteGroupTasks as FiniteGroupTasks

__all__ = ["FiniteGroupTasks", "TaskFamily"]
